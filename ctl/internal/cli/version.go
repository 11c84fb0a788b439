package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print roostctl's version; the daemon's is in roostctl info",
		Args:  takes(0, 0), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			switch p.format {
			case render.FormatJSON:
				return json.NewEncoder(p.Stdout).Encode(map[string]string{"version": p.Version})
			case render.FormatYAML:
				p.say("version: %q", p.Version)
			case render.FormatName:
				p.say("%s", p.Version)
			default:
				p.say("roostctl %s", p.Version)
			}
			return nil
		},
	}
}
