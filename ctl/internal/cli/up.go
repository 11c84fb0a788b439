package cli

import "github.com/spf13/cobra"

func (p *program) upCommand() *cobra.Command { return &cobra.Command{Use: "up"} }
