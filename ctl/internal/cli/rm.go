package cli

import (
	"context"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) rmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm APP", Aliases: []string{"delete"},
		Short: "Drain an app, stop it and forget it",
		Long: `Rm lets an app's open requests finish, ends its processes and forgets it with all its
generations. Its files are not touched.`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(p.rm),
	}
}

func (p *program) rm(ctx context.Context, args []string) error {
	before, err := p.apps().GetApp(ctx, &roostv1.GetAppRequest{Name: args[0]})
	if err != nil {
		return err
	}
	resp, err := p.apps().DeleteApp(ctx, &roostv1.DeleteAppRequest{Name: args[0]})
	if err != nil {
		return err
	}
	if err := p.wait(ctx, pending{app: args[0], id: resp.GetRolloutId(), removes: true}); err != nil {
		return err
	}
	return p.print(resp, args[0], func() error {
		app := before.GetApp()
		verb := "is removed"
		if p.begun(resp.GetRolloutId()) {
			verb = "is being removed"
		}
		p.say("%s %s: it was %s, generation %d of %s", args[0], verb,
			stateText(app), app.GetDesiredGeneration(), render.Clean(app.GetSpec().GetDir()))
		return nil
	})
}
