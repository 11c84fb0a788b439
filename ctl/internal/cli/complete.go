package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/webconfig"
)

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeWithin bounds a completion: who presses Tab does not wait.
const completeWithin = time.Second

func (p *program) complete(c *cobra.Command, flag string, f completion) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // the flag does not exist: a mistake of this program
	}
}

func fixed(words ...string) completion {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// lossNames completes the last of the names of --accept-loss.
func lossNames(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	var names []string
	for _, n := range webconfig.Losses() {
		names = append(names, before+n)
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// appNames completes the first argument with the daemon's apps.
func (p *program) appNames(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || p.prepare(c) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	resp, err := p.apps().ListApps(ctx, &roostv1.ListAppsRequest{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, a := range resp.GetApps() {
		names = append(names, a.GetName()+"\t"+manifest.EnumText(a.GetState()))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// instanceIDs completes --instance with those of the app that is named already.
func (p *program) instanceIDs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 || p.prepare(c) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	resp, err := p.instances().ListInstances(ctx, &roostv1.ListInstancesRequest{App: args[0], IncludeExited: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, i := range resp.GetInstances() {
		ids = append(ids, i.GetId()+"\t"+manifest.EnumText(i.GetPhase()))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
