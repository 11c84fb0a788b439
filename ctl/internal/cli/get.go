package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) getCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get APP", Aliases: []string{"status"},
		Short: "Show an app: state, instances, what is wrong, and its spec",
		Args:  takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(p.get),
	}
}

func (p *program) get(ctx context.Context, args []string) error {
	resp, err := p.apps().GetApp(ctx, &roostv1.GetAppRequest{Name: args[0]})
	if err != nil {
		return err
	}
	return p.print(resp, resp.GetApp().GetName(), func() error {
		list, err := p.instances().ListInstances(ctx, &roostv1.ListInstancesRequest{App: args[0], IncludeExited: true})
		if err != nil {
			return err
		}
		return p.detail(resp.GetApp(), list.GetInstances())
	})
}

func (p *program) detail(a *roostv1.App, instances []*roostv1.Instance) error {
	if err := p.facts(a).Write(p.Stdout, p.paint); err != nil {
		return err
	}
	for _, c := range a.GetConditions() {
		p.say("%s %s", p.paint.Paint(render.Yellow, "! "+render.Clean(c.GetType())+":"), render.Clean(c.GetMessage()))
	}
	p.outputFaults(instances)
	var live []*roostv1.Instance
	var lastFailed *roostv1.Instance
	for _, i := range instances {
		if i.GetPhase() != roostv1.InstancePhase_INSTANCE_PHASE_EXITED {
			live = append(live, i)
		} else if i.GetOutputTail() != "" || failedExit(i.GetExit()) {
			lastFailed = i
		}
	}
	if len(live) > 0 {
		p.heading("Instances")
		if err := p.instanceTable(live).Write(p.Stdout, p.paint); err != nil {
			return err
		}
	}
	p.lastFailure(a.GetRollout(), lastFailed, recovered(lastFailed, live))
	spec, err := manifest.Spec(a.GetSpec())
	if err != nil {
		return err
	}
	p.heading("Spec")
	fmt.Fprint(p.Stdout, render.Indent(render.CleanLines(string(spec)), "  "))
	return nil
}

// outputFaults says of which instances not all output is there.
func (p *program) outputFaults(instances []*roostv1.Instance) {
	for _, i := range instances {
		text := ""
		if n := i.GetOutputDroppedBytes(); n > 0 {
			text = fmt.Sprintf("; %d bytes of it, %d lines, were dropped", n, i.GetOutputDroppedLines())
		}
		if why := i.GetOutputFault(); why != "" {
			text = "; it cannot be written now: " + render.Clean(why) + text
		}
		if text != "" {
			p.say("%s %s", p.paint.Paint(render.Yellow, "! output of "+i.GetId()+":"), text[2:])
		}
	}
}

// facts are what stands above everything else, two columns without a header.
func (p *program) facts(a *roostv1.App) *render.Table {
	t := render.NewTable("", "")
	state := stateCell(a)
	state.Text = fmt.Sprintf("%s, %d of %d ready", state.Text, a.GetReady(), a.GetInstances())
	t.Row("app", render.Cell{Text: a.GetName(), Style: render.Bold})
	t.Row("state", state)
	if a.GetRetryTime() != nil && time.Until(a.GetRetryTime().AsTime()) > 0 {
		t.Row("next try", "in "+render.Age(time.Until(a.GetRetryTime().AsTime())))
	}
	t.Row("generation", generationText(a))
	if r := a.GetRollout(); r != nil {
		t.Row("rollout", rolloutText(r))
	}
	folder := a.GetSpec().GetDir()
	if d := a.GetResolvedDir(); d != "" && d != folder {
		folder += " → " + d
	}
	t.Row("folder", folder)
	if routes := routeTexts(a.GetSpec()); len(routes) > 0 {
		t.Row("routes", strings.Join(routes, ", "))
	}
	if a.GetManifest() != "" {
		t.Row("manifest", a.GetManifest())
	}
	return t
}

func rolloutText(r *roostv1.Rollout) string {
	text := manifest.EnumText(r.GetPhase())
	switch {
	case !over(r.GetPhase()):
		text += fmt.Sprintf(", %d of %d ready", r.GetUpdated(), r.GetDesired())
	case r.GetEndTime() != nil:
		text += ", " + render.Age(time.Since(r.GetEndTime().AsTime())) + " ago"
	}
	return text
}

func failedExit(e *roostv1.Exit) bool {
	return e != nil && (e.GetCode() != 0 || e.GetOom() || e.GetUnknown())
}

// recovered tells whether an instance has become ready since the failed one ended.
func recovered(failed *roostv1.Instance, live []*roostv1.Instance) bool {
	return slices.ContainsFunc(live, func(i *roostv1.Instance) bool {
		return i.GetPhase() == roostv1.InstancePhase_INSTANCE_PHASE_READY && i.GetReadyTime().AsTime().After(failed.GetExit().GetTime().AsTime())
	})
}

// lastFailure shows why the last rollout, or else the last instance, failed, and
// whether that is over.
func (p *program) lastFailure(r *roostv1.Rollout, i *roostv1.Instance, isOver bool) {
	switch {
	case r.GetPhase() == roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED:
		p.heading("Last failure")
		when := ""
		if t := r.GetEndTime(); t != nil {
			when = " (" + render.Age(time.Since(t.AsTime())) + " ago)"
		}
		p.say("  generation %d: %s%s", r.GetGeneration(), render.Clean(r.GetMessage()), when)
		fmt.Fprint(p.Stdout, render.Indent(render.CleanLines(r.GetOutput()), "  | "))
	case i != nil:
		p.heading("Last failure")
		why := i.GetReason()
		if why == "" {
			why = "it ended"
		}
		when := ""
		if t := i.GetExit().GetTime(); t != nil {
			when = ", " + render.Age(time.Since(t.AsTime())) + " ago"
		}
		if isOver {
			when += "; has run again since"
		}
		p.say("  instance %s: %s (%s%s)", i.GetId(), render.Clean(why), exitText(i.GetExit()), when)
		fmt.Fprint(p.Stdout, render.Indent(render.CleanLines(i.GetOutputTail()), "  | "))
	}
}

func (p *program) heading(s string) { p.say("\n%s", p.paint.Paint(render.Bold, s)) }
