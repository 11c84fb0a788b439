package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) signalCommand() *cobra.Command {
	var instance string
	c := &cobra.Command{
		Use:   "signal APP SIGNAL",
		Short: "Send a signal to an app's instances",
		Long: `Signal sends a signal, by name or number, to the leading process of every instance
of an app, or of one. It does not wait for what the app makes of it.`,
		Args: takes(2, 2), ValidArgsFunction: p.signalArgs,
	}
	c.Flags().StringVar(&instance, "instance", "", "only this instance")
	p.complete(c, "instance", p.instanceIDs)
	c.RunE = p.run(func(ctx context.Context, args []string) error { return p.signal(ctx, args[0], instance, args[1]) })
	return c
}

func (p *program) signalArgs(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "STOP", "CONT", "KILL"}, cobra.ShellCompDirectiveNoFileComp
	}
	return p.appNames(c, args, word)
}

func (p *program) signal(ctx context.Context, app, instance, sig string) error {
	resp, err := p.instances().SignalInstance(ctx, &roostv1.SignalInstanceRequest{App: app, Id: instance, Signal: sig})
	if err != nil {
		return err
	}
	ids := resp.GetIds()
	if p.format == render.FormatName {
		for _, id := range ids {
			p.say("%s", id)
		}
		return nil
	}
	return p.print(resp, "", func() error {
		if len(ids) == 0 {
			p.say("%s has no instances: nobody got the signal", app)
		} else {
			p.say("%s is sent to %s of %s: %s", sig, render.Count(len(ids), "instance"), app, strings.Join(ids, ", "))
		}
		return nil
	})
}
