package cli

import (
	"context"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func (p *program) rollbackCommand() *cobra.Command {
	var to int64
	c := &cobra.Command{
		Use:   "rollback APP [--to GENERATION]",
		Short: "Return to an earlier generation",
		Long: `Rollback makes an earlier generation the desired one, as a new generation. Without
--to it is the serving one where another is desired (a rollout that failed), else
the one that served before it. See "roostctl history APP".`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
	}
	c.Flags().Int64Var(&to, "to", 0, "the generation to return to")
	c.RunE = p.run(func(ctx context.Context, args []string) error {
		if to < 0 || to == 0 && c.Flags().Changed("to") {
			return usage("--to %d is not a generation: see roostctl history %s", to, args[0])
		}
		return p.rollback(ctx, args[0], to)
	})
	return c
}

func (p *program) rollback(ctx context.Context, app string, to int64) error {
	resp, err := p.apps().RollbackApp(ctx, &roostv1.RollbackAppRequest{Name: app, Generation: to})
	if err != nil {
		return err
	}
	return p.finish(ctx, app, resp, func() {
		now := resp.GetApp().GetDesiredGeneration()
		switch {
		case p.begun(resp.GetRolloutId()):
			p.say("%s is being rolled back, as generation %d", app, now)
		case to > 0:
			p.say("%s is rolled back to generation %d, as generation %d", app, to, now)
		default:
			p.say("%s is rolled back, as generation %d", app, now)
		}
	})
}
