package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

type applyOptions struct {
	files                      []string
	baseDir                    string
	dryRun, verify, prune, yes bool
	imported                   importOptions
}

func (p *program) applyCommand() *cobra.Command {
	var o applyOptions
	c := &cobra.Command{
		Use:   "apply [PATH...|-]",
		Short: "Make the apps of a manifest the desired ones",
		Long: `Apply registers the apps of a manifest, or changes them, all or none, and waits until
the change is true. Repeating it is safe. PATH is a file, a folder that has a
roost.yaml (default: this one), or - for standard input.

A folder without one that has a web.config, as dotnet publish writes it, or a
web.config itself, is imported: an ASP.NET Core app runs as IIS would run it. What
would weaken the site if it were dropped is an error until --accept-loss names it.

An app whose new version does not become ready is rolled back: the old one goes on
serving, and apply exits 1.`,
		Example: `  roostctl apply
  roostctl apply --dry-run -o yaml site/
  roostctl apply --prune shop.yaml
  roostctl apply publish/ --name shop --host shop.example.org`,
	}
	f := c.Flags()
	f.StringArrayVarP(&o.files, "file", "f", nil, "a manifest, as PATH; repeatable")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would change; with -o yaml the manifest as it is understood")
	f.BoolVar(&o.verify, "verify", false, "start an instance of each app that has none, and roll back where it is not ready")
	f.BoolVar(&o.prune, "prune", false, "delete the apps that an earlier manifest of the same name: had and this one has not")
	f.BoolVarP(&o.yes, "yes", "y", false, "prune without asking")
	f.StringVar(&o.imported.name, "name", "", "name of the app of a web.config (default: its folder's)")
	f.StringVar(&o.imported.host, "host", "", "host that the app of a web.config answers for (default: any)")
	f.StringVar(&o.imported.path, "path", "", "path that it is reached under (default: /)")
	f.StringSliceVar(&o.imported.acceptLoss, "accept-loss", nil, "what of a web.config may be dropped though it weakens the site: names, with commas")
	f.StringVar(&o.baseDir, "base-dir", "", "folder that relative paths start from (default: the manifest's own)")
	p.complete(c, "accept-loss", lossNames)
	for _, flag := range []string{"name", "host", "path"} {
		p.complete(c, flag, cobra.NoFileCompletions)
	}
	c.RunE = p.run(func(ctx context.Context, args []string) error { return p.apply(ctx, append(args, o.files...), o) })
	return c
}

func (p *program) apply(ctx context.Context, paths []string, o applyOptions) error {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	src, err := p.readSources(ctx, paths, o.baseDir, o.imported)
	if err != nil {
		return err
	}
	if o.prune && src.name == "" && !src.faults.Refuse() {
		return usage("--prune needs a name: in %s: it deletes only apps last applied under the same name", src.paths[0])
	}
	req := &roostv1.ApplyAppsRequest{Specs: src.specs, Manifest: src.name, Prune: o.prune, Verify: o.verify}
	switch {
	case src.faults.Refuse():
		return p.refuse(ctx, src, req)
	case o.dryRun:
		return p.dryRun(ctx, src, req)
	case o.prune && !o.yes:
		if err := p.confirmPrune(ctx, src, req); err != nil {
			return err
		}
	}
	resp, err := p.apps().ApplyApps(ctx, req)
	if err != nil {
		return p.refused(ctx, src, err)
	}
	p.warn(src, resp)
	if p.forPrograms() { // who reads the answer as one wants it with what came of it
		failed := p.waitApplied(ctx, resp)
		for _, r := range resp.GetResults() {
			p.settle(ctx, r.GetApp())
		}
		return errors.Join(p.printApplied(resp, false), failed)
	}
	if err := p.printApplied(resp, false); err != nil {
		return err
	}
	return p.waitApplied(ctx, resp)
}

func (p *program) waitApplied(ctx context.Context, resp *roostv1.ApplyAppsResponse) error {
	var list []pending
	for _, r := range resp.GetResults() {
		list = append(list, pending{r.GetName(), r.GetRolloutId(), r.GetAction() == roostv1.ApplyAction_APPLY_ACTION_DELETED})
	}
	return p.wait(ctx, list...)
}

// refuse reports the faults of the sources and, in the same go, those that the
// daemon finds in what could be understood.
func (p *program) refuse(ctx context.Context, src *sources, req *roostv1.ApplyAppsRequest) error {
	req.ValidateOnly, req.Prune = true, false
	resp, err := p.apps().ApplyApps(ctx, req)
	if err != nil {
		src.take(err)
	}
	src.takeWarnings(resp)
	return p.printFaults(src, exitUsage)
}

// take adds the daemon's violations to the faults, without the echoes of what
// was found before, and reports whether there were any.
func (s *sources) take(err error) bool {
	st, _ := status.FromError(err)
	list := violations(st)
	var found manifest.Faults
	for _, v := range list {
		if !s.faults.Covers(v.field) {
			found = append(found, s.fault(v.field, v.message, manifest.Error))
		}
	}
	s.faults = append(s.faults, found...)
	return len(list) > 0
}

func (s *sources) takeWarnings(resp *roostv1.ApplyAppsResponse) {
	for _, r := range resp.GetResults() {
		for _, w := range r.GetWarnings() {
			s.faults = append(s.faults, s.fault(w.GetField(), w.GetMessage(), manifest.Warning))
		}
	}
}

// printFaults prints all faults at their lines and returns the error that ends
// the command.
func (p *program) printFaults(src *sources, code int) error {
	src.faults.Sort()
	n := 0
	for _, f := range src.faults {
		fmt.Fprintf(p.Stderr, "%s\n%s", render.Clean(f.Error()), f.Excerpt())
		if f.Severity == manifest.Error {
			n++
		}
	}
	return failed(code, "nothing was applied: %s in %s", render.Count(n, "fault"), strings.Join(src.paths, ", "))
}

// refused turns the daemon's refusal into faults at their lines, where it names fields.
func (p *program) refused(ctx context.Context, src *sources, err error) error {
	if code := status.Code(err); code != codes.InvalidArgument && code != codes.FailedPrecondition || !src.take(err) {
		return cause(ctx, err)
	}
	return p.printFaults(src, exitOf(status.Code(err)))
}

// warn prints the daemon's warnings at their lines.
func (p *program) warn(src *sources, resp *roostv1.ApplyAppsResponse) {
	src.takeWarnings(resp)
	src.faults.Sort()
	for _, f := range src.faults {
		fmt.Fprintf(p.Stderr, "%s\n%s", render.Clean(f.Error()), f.Excerpt())
	}
}
