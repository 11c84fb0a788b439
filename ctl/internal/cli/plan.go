package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

// dryRun shows what an apply would change, or with -o yaml the manifest as it is
// understood.
func (p *program) dryRun(ctx context.Context, src *sources, req *roostv1.ApplyAppsRequest) error {
	req.ValidateOnly = true
	resp, err := p.apps().ApplyApps(ctx, req)
	if p.format == render.FormatYAML {
		return p.printManifest(ctx, src, resp, err)
	}
	if err != nil {
		return p.refused(ctx, src, err)
	}
	p.warn(src, resp)
	return p.printApplied(resp, true)
}

// printManifest prints the manifest as it is understood. That needs no daemon:
// where none answers, it says that nobody has checked it.
func (p *program) printManifest(ctx context.Context, src *sources, resp *roostv1.ApplyAppsResponse, err error) error {
	if err != nil {
		code, message := p.explain(err)
		if code != exitUnreachable {
			return p.refused(ctx, src, err)
		}
		p.note("roostctl: not checked: %s", render.Clean(message))
	}
	p.warn(src, resp)
	text, err := manifest.Write(src.name, src.specs)
	if err != nil {
		return err
	}
	_, err = p.Stdout.Write(text)
	return err
}

// confirmPrune shows which apps a prune deletes and asks.
func (p *program) confirmPrune(ctx context.Context, src *sources, req *roostv1.ApplyAppsRequest) error {
	req.ValidateOnly = true
	resp, err := p.apps().ApplyApps(ctx, req)
	req.ValidateOnly = false
	if err != nil {
		return p.refused(ctx, src, err)
	}
	var doomed []string
	for _, r := range resp.GetResults() {
		if r.GetAction() == roostv1.ApplyAction_APPLY_ACTION_DELETED {
			doomed = append(doomed, r.GetName())
		}
	}
	if len(doomed) == 0 {
		return nil
	}
	if err := p.planTable(resp, true).Write(p.Stderr, p.paint); err != nil {
		return err
	}
	names := strings.Join(doomed, ", ")
	if !isTerminal(p.Stdin) {
		return usage("--prune would delete %s: say --yes to do it", names)
	}
	fmt.Fprintf(p.Stderr, "Delete %s? [y/N] ", names)
	answer, err := read(ctx, func() (string, error) {
		s, err := bufio.NewReader(p.Stdin).ReadString('\n')
		if errors.Is(err, io.EOF) { // no answer is no
			err = nil
		}
		return s, err
	})
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return failed(exitFailed, "nothing was applied: %s would have been deleted", names)
}

func (p *program) printApplied(resp *roostv1.ApplyAppsResponse, planned bool) error {
	if p.format == render.FormatName {
		for _, r := range resp.GetResults() {
			p.say("%s", r.GetName())
		}
		return nil
	}
	return p.print(resp, "", func() error {
		if len(resp.GetResults()) == 0 {
			p.note("the manifest has no apps: nothing changed")
			return nil
		}
		return p.planTable(resp, planned).Write(p.Stdout, p.paint)
	})
}

// planTable says per app what an apply did, or would do.
func (p *program) planTable(resp *roostv1.ApplyAppsResponse, planned bool) *render.Table {
	t := render.NewTable("", "", "")
	for _, r := range resp.GetResults() {
		action := manifest.EnumText(r.GetAction())
		if planned && r.GetAction() != roostv1.ApplyAction_APPLY_ACTION_UNCHANGED {
			action = "would be " + action
		}
		changes := strings.Join(r.GetChangedPaths(), ", ")
		if r.GetAction() == roostv1.ApplyAction_APPLY_ACTION_CREATED {
			changes = "" // all of it
		}
		if r.GetReplacesInstances() {
			changes = strings.TrimSpace(changes + " (instances are replaced)")
		}
		t.Row(r.GetName(), render.Cell{Text: action, Style: actionStyle(r.GetAction())}, changes)
	}
	return t
}

func actionStyle(a roostv1.ApplyAction) render.Style {
	switch a {
	case roostv1.ApplyAction_APPLY_ACTION_CREATED:
		return render.Green
	case roostv1.ApplyAction_APPLY_ACTION_UPDATED:
		return render.Yellow
	case roostv1.ApplyAction_APPLY_ACTION_DELETED:
		return render.Red
	default:
		return render.Dim
	}
}
