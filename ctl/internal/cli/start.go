package cli

import (
	"context"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start APP",
		Short: "Put an app in service and start it",
		Long: `Start puts an app in service and starts its instances, whatever start.when says.
It lifts a stop, a rapid-fail block and the waiting time after a failed start.`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(p.start),
	}
}

func (p *program) start(ctx context.Context, args []string) error {
	resp, err := p.apps().StartApp(ctx, &roostv1.StartAppRequest{Name: args[0]})
	if err != nil {
		return err
	}
	return p.finish(ctx, args[0], resp, func() {
		if p.begun(resp.GetRolloutId()) {
			p.say("%s is starting", args[0])
		} else {
			p.say("%s is started: %s", args[0], render.Count(int(resp.GetApp().GetInstances()), "instance"))
		}
	})
}

// begun reports whether a rollout goes on that nobody waited for.
func (p *program) begun(rollout string) bool { return p.flags.noWait && rollout != "" }
