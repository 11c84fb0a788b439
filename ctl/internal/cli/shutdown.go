package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
	"github.com/roostd/roost/internal/rpc"
)

func (p *program) shutdownCommand() *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use:   "shutdown",
		Short: "End the daemon, and every app with it",
		Long: `Shutdown drains and stops every app and ends the daemon, whatever flags it was started
with. It fails, and names them, where processes are left that not even SIGKILL ends:
they hang in the kernel. With --detach apps go on under the keeper, and the next daemon
finds them.`,
		Args: takes(0, 0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().BoolVar(&detach, "detach", false, "leave the apps running")
	c.RunE = p.run(func(ctx context.Context, _ []string) error { return p.shutdown(ctx, detach) })
	return c
}

func (p *program) shutdown(ctx context.Context, detach bool) error {
	before, err := p.system().GetInfo(ctx, &roostv1.GetInfoRequest{})
	if err != nil {
		return err
	}
	resp, err := p.system().Shutdown(ctx, &roostv1.ShutdownRequest{Detach: detach})
	if err != nil {
		return err
	}
	if !p.flags.noWait {
		if err := p.untilGone(ctx, before.GetPid()); err != nil {
			return err
		}
	}
	if err := p.print(resp, "", func() error {
		if detach {
			p.say("roostd has ended: %s left running under the keeper", render.Count(int(resp.GetLeft()), "instance"))
		} else {
			p.say("roostd has ended: %s stopped", render.Count(int(resp.GetStopped()), "instance"))
		}
		return nil
	}); err != nil {
		return err
	}
	return lingering(resp.GetLingering())
}

// lingering is the error of what could not be stopped.
func lingering(list []*roostv1.Lingering) error {
	if len(list) == 0 {
		return nil
	}
	names := make([]string, 0, len(list))
	for _, l := range list {
		names = append(names, fmt.Sprintf("%s (instance %s, pids %v)", l.GetApp(), l.GetInstance(), l.GetPids()))
	}
	return fmt.Errorf("not stopped: %s: killed, but hanging in the kernel; the keeper waits for them", strings.Join(names, ", "))
}

// untilGone returns when a daemon does not answer at its socket any more: nobody
// does, or another, as a service manager may start one at once.
func (p *program) untilGone(ctx context.Context, pid int32) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := p.system().GetInfo(ctx, &roostv1.GetInfoRequest{})
		if err == nil && now.GetPid() != pid {
			return nil
		}
		if _, gone := errors.AsType[*rpc.UnreachableError](rpc.Explain(p.daemon(), err)); gone {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
