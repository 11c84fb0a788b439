package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) scaleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "scale APP N",
		Short: "Set how many instances serve an app",
		Long: `Scale sets the number of instances, 1 to 100, and leaves the running ones alone. The
next apply sets what the manifest says.`,
		Args: takes(2, 2), ValidArgsFunction: p.appNames,
		RunE: p.run(p.scale),
	}
}

func (p *program) scale(ctx context.Context, args []string) error {
	n, err := strconv.ParseInt(args[1], 10, 32)
	if err != nil {
		return usage("%q is not a number of instances: give 1 to 100", args[1])
	}
	resp, err := p.apps().ScaleApp(ctx, &roostv1.ScaleAppRequest{Name: args[0], Instances: int32(n)})
	if err != nil {
		return err
	}
	return p.finish(ctx, args[0], resp, func() {
		if p.begun(resp.GetRolloutId()) {
			p.say("%s is being scaled to %s", args[0], render.Count(int(n), "instance"))
		} else {
			p.say("%s is scaled to %s", args[0], render.Count(int(n), "instance"))
		}
	})
}
