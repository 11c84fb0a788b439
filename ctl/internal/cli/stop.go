package cli

import (
	"context"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func (p *program) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop APP",
		Short: "Take an app out of service and end its processes",
		Long: `Stop takes an app out of service: its open requests finish, its processes end, and
no request starts it until "roostctl start". It stays stopped across restarts of
the daemon. When the command returns, no process of the app is left.`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(p.stop),
	}
}

func (p *program) stop(ctx context.Context, args []string) error {
	resp, err := p.apps().StopApp(ctx, &roostv1.StopAppRequest{Name: args[0]})
	if err != nil {
		return err
	}
	return p.finish(ctx, args[0], resp, func() {
		if p.begun(resp.GetRolloutId()) {
			p.say("%s is stopping", args[0])
		} else {
			p.say("%s is stopped", args[0])
		}
	})
}
