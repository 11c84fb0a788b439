package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) psCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "ps [APP]",
		Short: "List the instances: the processes that serve apps",
		Args:  takes(0, 1), ValidArgsFunction: p.appNames,
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "ended ones too, while they are kept")
	c.RunE = p.run(func(ctx context.Context, args []string) error { return p.ps(ctx, strings.Join(args, ""), all) })
	return c
}

func (p *program) ps(ctx context.Context, app string, all bool) error {
	resp, err := p.instances().ListInstances(ctx, &roostv1.ListInstancesRequest{App: app, IncludeExited: all})
	if err != nil {
		return err
	}
	if p.format == render.FormatName {
		for _, i := range resp.GetInstances() {
			p.say("%s", i.GetId())
		}
		return nil
	}
	return p.print(resp, "", func() error {
		switch {
		case len(resp.GetInstances()) > 0:
			return p.instanceTable(resp.GetInstances()).Write(p.Stdout, p.paint)
		case app != "":
			p.note("no instance of %s runs: its first request starts one, or \"roostctl start %s\"", app, app)
		default:
			p.note("nothing runs: an app starts at its first request, or with \"roostctl start APP\"")
		}
		return nil
	})
}

func (p *program) instanceTable(list []*roostv1.Instance) *render.Table {
	columns := []string{"INSTANCE", "APP", "GENERATION", "PHASE", "PID", "ADDRESS", "AGE", "IN-FLIGHT"}
	if p.wide() {
		columns = append(columns, "READY AFTER", "EXIT", "REASON")
	}
	t := render.NewTable(columns...)
	for _, i := range list {
		pid := ""
		if i.GetPid() > 0 {
			pid = fmt.Sprint(i.GetPid())
		}
		row := []any{
			i.GetId(), i.GetApp(), fmt.Sprint(i.GetGeneration()), phaseCell(i), pid, i.GetAddress(), ageOf(i), fmt.Sprint(i.GetInFlight()),
		}
		if p.wide() {
			row = append(row, readyAfter(i), exitText(i.GetExit()), i.GetReason())
		}
		t.Row(row...)
	}
	return t
}

func phaseCell(i *roostv1.Instance) render.Cell {
	c := render.Cell{Text: manifest.EnumText(i.GetPhase())}
	switch i.GetPhase() {
	case roostv1.InstancePhase_INSTANCE_PHASE_READY:
		c.Style = render.Green
	case roostv1.InstancePhase_INSTANCE_PHASE_STARTING, roostv1.InstancePhase_INSTANCE_PHASE_UNREADY:
		c.Style = render.Yellow
	case roostv1.InstancePhase_INSTANCE_PHASE_DRAINING, roostv1.InstancePhase_INSTANCE_PHASE_STOPPING, roostv1.InstancePhase_INSTANCE_PHASE_EXITED:
		c.Style = render.Dim
	default:
	}
	return c
}

// ageOf is how long an instance has run, or ran.
func ageOf(i *roostv1.Instance) string {
	if i.GetStartTime() == nil {
		return ""
	}
	if i.GetExit() != nil {
		return render.Age(i.GetExit().GetTime().AsTime().Sub(i.GetStartTime().AsTime()))
	}
	return render.Age(time.Since(i.GetStartTime().AsTime()))
}

func readyAfter(i *roostv1.Instance) string {
	if i.GetReadyTime() == nil || i.GetStartTime() == nil {
		return ""
	}
	return render.Age(i.GetReadyTime().AsTime().Sub(i.GetStartTime().AsTime()))
}

// exitText says how a process ended.
func exitText(e *roostv1.Exit) string {
	switch {
	case e == nil:
		return ""
	case e.GetUnknown():
		return "unknown"
	case e.GetOom():
		return "out of memory (" + e.GetSignal() + ")"
	case e.GetSignal() != "":
		return e.GetSignal()
	}
	return fmt.Sprintf("code %d", e.GetCode())
}
