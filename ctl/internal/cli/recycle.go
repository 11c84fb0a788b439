package cli

import (
	"context"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) recycleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "recycle APP", Aliases: []string{"restart"},
		Short: "Replace an app's instances without dropping a request",
		Long: `Recycle starts new instances, waits until they are ready, drains the old ones and
ends them. The app's folder and its links are resolved again, so a "current" link
that was moved is deployed by it.`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(p.recycle),
	}
}

func (p *program) recycle(ctx context.Context, args []string) error {
	resp, err := p.apps().RecycleApp(ctx, &roostv1.RecycleAppRequest{Name: args[0]})
	if err != nil {
		return err
	}
	return p.finish(ctx, args[0], resp, func() {
		switch {
		case resp.GetRolloutId() == "":
			starts := "the next request starts it, or roostctl start " + args[0]
			if resp.GetApp().GetSpec().GetStart().GetWhen() == roostv1.StartWhen_START_WHEN_MANUAL {
				starts = "roostctl start " + args[0]
			}
			p.say("%s has no instances to replace, and what it failed before is forgiven: %s", args[0], starts)
		case p.flags.noWait:
			p.say("%s is being recycled", args[0])
		default:
			p.say("%s is recycled: %s of generation %d", args[0],
				render.Count(int(resp.GetApp().GetInstances()), "instance"), resp.GetApp().GetDesiredGeneration())
		}
	})
}
