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

func (p *program) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history APP",
		Short: "List the kept generations of an app, newest first",
		Args:  takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(p.history),
	}
}

func (p *program) history(ctx context.Context, args []string) error {
	resp, err := p.apps().ListGenerations(ctx, &roostv1.ListGenerationsRequest{Name: args[0]})
	if err != nil {
		return err
	}
	if p.format == render.FormatName {
		for _, g := range resp.GetGenerations() {
			p.say("%d", g.GetNumber())
		}
		return nil
	}
	return p.print(resp, "", func() error {
		if len(resp.GetGenerations()) == 0 {
			p.note("%s has no generations", args[0])
			return nil
		}
		return p.generationTable(resp.GetGenerations()).Write(p.Stdout, p.paint)
	})
}

func (p *program) generationTable(list []*roostv1.Generation) *render.Table {
	columns := []string{"GENERATION", "AGE", "OUTCOME", "USE", "RELEASE", "FOLDER"}
	if p.wide() {
		columns = append(columns, "TIME", "BY", "COMMAND")
	}
	t := render.NewTable(columns...)
	for _, g := range list {
		var use []string
		if g.GetServing() {
			use = append(use, "serving")
		}
		if g.GetDesired() {
			use = append(use, "desired")
		}
		dir := g.GetResolvedDir()
		if dir == "" {
			dir = g.GetSpec().GetDir()
		}
		row := []any{
			fmt.Sprint(g.GetNumber()), render.Age(time.Since(g.GetTime().AsTime())),
			render.Cell{Text: manifest.EnumText(g.GetOutcome()), Style: styleOf(g.GetOutcome())},
			strings.Join(use, ", "), g.GetSpec().GetRelease(), dir,
		}
		if p.wide() {
			row = append(row, g.GetTime().AsTime().Local().Format(time.DateTime), g.GetActor(), strings.Join(g.GetSpec().GetCommand(), " "))
		}
		t.Row(row...)
	}
	return t
}
