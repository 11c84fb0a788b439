package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Show the daemon, who you are to it, and what this host can do",
		Args:  takes(0, 0), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: p.run(p.info),
	}
}

func (p *program) info(ctx context.Context, _ []string) error {
	i, err := p.system().GetInfo(ctx, &roostv1.GetInfoRequest{})
	if err != nil {
		return err
	}
	return p.print(i, i.GetSocket(), func() error {
		if err := p.infoTable(i).Write(p.Stdout, p.paint); err != nil {
			return err
		}
		if len(i.GetAbilities()) > 0 {
			p.heading("Abilities of this host")
			t := render.NewTable("", "", "")
			for _, a := range i.GetAbilities() {
				has := render.Cell{Text: "yes", Style: render.Green}
				if !a.GetAvailable() {
					has = render.Cell{Text: "no", Style: render.Yellow}
				}
				t.Row("  "+a.GetName(), has, a.GetDetail())
			}
			if err := t.Write(p.Stdout, p.paint); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *program) infoTable(i *roostv1.GetInfoResponse) *render.Table {
	t := render.NewTable("", "")
	t.Row("roostctl", p.Version)
	t.Row("roostd", fmt.Sprintf("%s, pid %d, up %s, start %d", i.GetVersion(), i.GetPid(), render.Age(time.Since(i.GetStartTime().AsTime())), i.GetEpoch()))
	t.Row("keeper", fmt.Sprintf("%s, pid %d", i.GetKeeperVersion(), i.GetKeeperPid()))
	t.Row("socket", i.GetSocket())
	t.Row("state", i.GetStateDir())
	t.Row("logs", i.GetLogDir())
	roles := strings.Join(i.GetRoles(), ", ")
	if roles == "" {
		roles = "no role"
	}
	t.Row("you", i.GetCaller()+": "+roles)
	for _, x := range i.GetProxies() {
		link := "connected"
		if !x.GetConnected() {
			link = "not connected"
		}
		t.Row("proxy", fmt.Sprintf("%s, pid %d, %s, %s", x.GetVersion(), x.GetPid(), link, x.GetId()))
	}
	if len(i.GetProxies()) == 0 {
		t.Row("proxy", "none: start roost-proxy to serve requests")
	}
	return t
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
