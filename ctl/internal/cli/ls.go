package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"},
		Short: "List the apps",
		Args:  takes(0, 0), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: p.run(p.ls),
	}
}

func (p *program) ls(ctx context.Context, _ []string) error {
	resp, err := p.apps().ListApps(ctx, &roostv1.ListAppsRequest{})
	if err != nil {
		return err
	}
	if p.format == render.FormatName {
		for _, a := range resp.GetApps() {
			p.say("%s", a.GetName())
		}
		return nil
	}
	return p.print(resp, "", func() error {
		if len(resp.GetApps()) == 0 {
			p.note("no apps yet: write a roost.yaml and say \"roostctl apply\"")
			return nil
		}
		return p.appTable(resp.GetApps()).Write(p.Stdout, p.paint)
	})
}

func (p *program) appTable(apps []*roostv1.App) *render.Table {
	columns := []string{"NAME", "STATE", "READY", "GENERATION", "ROUTES"}
	if p.wide() {
		columns = append(columns, "RELEASE", "MANIFEST", "FOLDER", "CONDITIONS")
	}
	t := render.NewTable(columns...)
	for _, a := range apps {
		row := []any{
			a.GetName(), stateCell(a), fmt.Sprintf("%d/%d", a.GetReady(), a.GetInstances()),
			generationText(a), strings.Join(routeTexts(a.GetSpec()), " "),
		}
		if p.wide() {
			var conditions []string
			for _, c := range a.GetConditions() {
				conditions = append(conditions, c.GetType())
			}
			row = append(row, a.GetSpec().GetRelease(), a.GetManifest(), folderOf(a), strings.Join(conditions, " "))
		}
		t.Row(row...)
	}
	return t
}

func stateText(a *roostv1.App) string { return manifest.EnumText(a.GetState()) }

func stateCell(a *roostv1.App) render.Cell {
	c := render.Cell{Text: stateText(a)}
	switch a.GetState() {
	case roostv1.AppState_APP_STATE_RUNNING:
		c.Style = render.Green
	case roostv1.AppState_APP_STATE_STARTING, roostv1.AppState_APP_STATE_DEGRADED:
		c.Style = render.Yellow
	case roostv1.AppState_APP_STATE_OFFLINE:
		c.Style = render.Yellow
	case roostv1.AppState_APP_STATE_BLOCKED, roostv1.AppState_APP_STATE_FAILED:
		c.Style = render.Red
	case roostv1.AppState_APP_STATE_IDLE, roostv1.AppState_APP_STATE_STOPPED:
		c.Style = render.Dim
	default:
	}
	return c
}

// generationText is the desired generation, and the serving one where it is another.
func generationText(a *roostv1.App) string {
	if s := a.GetServingGeneration(); s != a.GetDesiredGeneration() && s != 0 {
		return fmt.Sprintf("%d (serving %d)", a.GetDesiredGeneration(), s)
	}
	return fmt.Sprint(a.GetDesiredGeneration())
}

func folderOf(a *roostv1.App) string {
	if d := a.GetResolvedDir(); d != "" {
		return d
	}
	return a.GetSpec().GetDir()
}

// routeTexts are an app's routes as host/path, * for any host.
func routeTexts(spec *roostv1.AppSpec) []string {
	var texts []string
	for _, r := range spec.GetRoutes() {
		host, path := r.GetHost(), r.GetPath()
		if host == "" {
			host = "*"
		}
		if path == "" {
			path = "/"
		}
		texts = append(texts, host+path)
	}
	return texts
}
