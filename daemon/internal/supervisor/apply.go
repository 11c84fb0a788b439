package supervisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/roostd/roost/daemon/internal/app"
)

// ApplyRequest carries the specs that shall be the desired ones.
type ApplyRequest struct {
	Specs        []app.Spec
	ValidateOnly bool              // answer as the write would, and change nothing
	Etags        map[string]string // by app; a mismatch is app.Stale
	Manifest     string            // kept per app, the scope of Prune
	Prune        bool              // delete the manifest's apps that are not among the specs
	Verify       bool              // start one instance where none runs, and roll back where that fails
	Actor        string
}

// The actions of an ApplyResult.
const (
	ActionCreated   = "created"
	ActionUnchanged = "unchanged"
	ActionUpdated   = "updated"
	ActionDeleted   = "deleted"
)

// ApplyResult is what an apply did to one app, or would do.
type ApplyResult struct {
	Name         string
	Action       string
	App          app.App // after the write; zero where it was deleted
	ChangedPaths []string
	Replaces     bool   // running instances are replaced
	Rollout      string // to watch; "" where nothing is started, replaced or published
	Warnings     []app.Violation
}

// draft is what an apply is about to do to one app.
type draft struct {
	ApplyResult
	stored app.Stored // as it will be
	kind   writeKind  // 0: nothing to tell
	save   bool
}

// Apply makes the given specs the desired ones, all or none; repeating it changes
// nothing. It fails with app.Invalid for faulty specs and folders, all faults at
// once with fields such as "apps.web.listen.port", with app.Conflict where two
// apps want the same route or port, and with app.Stale for an etag.
func (s *Supervisor) Apply(ctx context.Context, req ApplyRequest) ([]ApplyResult, error) {
	specs, faults := s.checkSpecs(req) // no other write waits for the host's file systems
	return ask(ctx, s, func() ([]ApplyResult, error) { return s.apply(req, specs, faults) })
}

func (s *Supervisor) apply(req ApplyRequest, specs []candidate, faults []app.Violation) ([]ApplyResult, error) {
	if s.closing && !req.ValidateOnly {
		return nil, shuttingDown("")
	}
	if len(faults) > 0 {
		return nil, invalid(append(faults, s.claimFaults(req, specs)...))
	}
	if err := s.checkEtags(req.Etags); err != nil {
		return nil, err
	}
	var drafts []draft
	for _, spec := range specs {
		d, err := s.draft(spec, req)
		if err != nil {
			return nil, storing(spec.Name, err)
		}
		drafts = append(drafts, d)
	}
	if req.Prune {
		drafts = append(drafts, s.prune(req.Manifest, specs)...)
	}
	if err := s.checkConflicts(drafts); err != nil {
		return nil, err
	}
	if !req.ValidateOnly {
		if err := s.carryOut(drafts, req.Actor); err != nil {
			return nil, err
		}
	}
	results := make([]ApplyResult, len(drafts))
	for i, d := range drafts {
		results[i] = d.ApplyResult
	}
	return results, nil
}

// candidate is a spec that no fault was found in.
type candidate struct {
	app.Spec                 // with its defaults
	dir      string          // its folder with links resolved
	warnings []app.Violation // of this host; the start will fail with them
}

// checkSpecs returns the specs checked, and every fault of all of them. The host is
// asked about all of them together.
func (s *Supervisor) checkSpecs(req ApplyRequest) ([]candidate, []app.Violation) {
	var faults []app.Violation
	if req.Prune && req.Manifest == "" {
		faults = append(faults, app.Violation{Field: "manifest", Message: "prune needs the manifest's name: give it one with name:"})
	}
	specs, found := make([]candidate, len(req.Specs)), make([][]app.Violation, len(req.Specs))
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for i, spec := range req.Specs {
		twice := seen[spec.Name]
		seen[spec.Name] = true
		wg.Go(func() { specs[i], found[i] = s.checkSpec(spec, twice) })
	}
	wg.Wait()
	for i, spec := range req.Specs {
		faults = append(faults, prefixed(spec.Name, found[i])...)
	}
	return specs, faults
}

// checkSpec returns a spec checked, and its faults.
func (s *Supervisor) checkSpec(spec app.Spec, twice bool) (candidate, []app.Violation) {
	c := candidate{Spec: spec.WithDefaults()}
	found := c.Validate()
	if twice {
		found = append(found, app.Violation{Field: "name", Message: "the app is given twice"})
	}
	if spec.Dir != "" && !slices.ContainsFunc(found, func(v app.Violation) bool { return v.Field == "dir" }) {
		var err error
		if c.dir, err = s.resolveDir(spec.Dir); err != nil {
			found = append(found, app.Violation{Field: "dir", Message: err.Error()})
		}
	}
	if len(found) == 0 {
		found, c.warnings = s.checkOnHost(c.Spec)
	}
	return c, found
}

func prefixed(name string, list []app.Violation) []app.Violation {
	var out []app.Violation
	for _, v := range list {
		out = append(out, app.Violation{Field: "apps." + name + "." + v.Field, Message: v.Message})
	}
	return out
}

func invalid(faults []app.Violation) *app.Fault {
	var messages []string
	for _, v := range faults {
		messages = append(messages, v.Field+": "+v.Message)
	}
	return &app.Fault{
		Kind: app.Invalid, Reason: app.ReasonInvalidSpec,
		Message: strings.Join(messages, "; "), Violations: faults,
	}
}

func (s *Supervisor) checkEtags(etags map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(etags)) {
		if err := s.checkEtag(name, etags[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) checkEtag(name, etag string) error {
	have := ""
	if e := s.entries[name]; e != nil && !e.removed {
		have = app.Etag(e.Desired, desiredOf(e.Stored).Spec)
	}
	if etag == "" || etag == have {
		return nil
	}
	return app.Errorf(app.Stale, app.ReasonEtagMismatch, name, "%s has changed since it was read: read it again, and apply to that", name)
}

// draft works out what an apply does to one app.
func (s *Supervisor) draft(spec candidate, req ApplyRequest) (draft, error) {
	next, err := s.nextGeneration(spec.Name, spec.dir, req.Actor, spec.Spec)
	if err != nil {
		return draft{}, err
	}
	e := s.entries[spec.Name]
	d := draft{save: true}
	switch {
	case e == nil || e.removed:
		d.Action, d.kind = ActionCreated, writeLive
		d.stored = app.Stored{Name: spec.Name, Serving: next.Number}
		d.stored = serveDesired(accept(d.stored, next))
	default:
		d = s.draftChange(e, next)
		if d.stored.RapidFail != nil { // it may be what mends it
			d.stored, d.save = inService(d.stored), true
			d.kind = max(d.kind, writeLive)
		}
	}
	if d.stored.Manifest != req.Manifest {
		d.stored.Manifest, d.save = req.Manifest, true
	}
	page := s.pageIn(e, servingOf(d.stored).ResolvedDir)
	if req.Verify && !d.stored.Stopped && d.stored.Offline == nil && page == nil && (e == nil || e.removed || !e.ctl.inUse.Load()) {
		d = verifying(d, e)
	}
	d.Name = spec.Name
	d.Warnings = s.warnings(spec)
	if page != nil {
		d.Warnings = append(d.Warnings, prefixed(spec.Name, []app.Violation{{
			Field: "dir", Message: "the app is offline while " + app.OfflineFile + " is in " + servingOf(d.stored).ResolvedDir,
		}})...)
	}
	d.App = app.App{Stored: d.stored, State: app.StateIdle, Instances: *servingOf(d.stored).Spec.Instances}
	if shown, ok := s.apps.Get(spec.Name); ok && e != nil {
		shown.Stored = d.stored
		d.App = shown
	}
	return d, nil
}

// draftChange compares the next generation with what an app has.
func (s *Supervisor) draftChange(e *entry, next app.Generation) draft {
	desired, serving := desiredOf(e.Stored), servingOf(e.Stored)
	changed := app.ChangedPaths(desired.Spec, next.Spec)
	if next.ResolvedDir != desired.ResolvedDir && !slices.Contains(changed, "dir") {
		changed = append(changed, "dir") // a link on its way leads elsewhere now
	}
	d := draft{ApplyResult: ApplyResult{Action: ActionUpdated, ChangedPaths: changed}}
	switch {
	case len(changed) > 0:
		d.stored, d.save = accept(e.Stored, next), true
	case s.settledOn(e):
		d.Action, d.stored, d.kind = ActionUnchanged, e.Stored, writeTouch
		return d
	default: // tried before, and failed or overtaken
		d.Action, d.stored, d.save = ActionUnchanged, retry(e.Stored), true
		next = desired
	}
	d.Replaces = e.ctl.inUse.Load() && (replaces(serving, next) || d.Action == ActionUnchanged && e.Serving == e.Desired)
	if s.pageIn(e, next.ResolvedDir) != nil {
		d.Replaces = false // there is nothing to start there
	}
	d.kind = writeReplace
	if !d.Replaces {
		d.kind, d.stored = writeLive, serveDesired(d.stored)
	}
	return d
}

// settledOn tells whether the desired generation serves or is on its way.
func (s *Supervisor) settledOn(e *entry) bool {
	if r, ok := s.rollouts.Get(e.rollout); ok && !r.Phase.Done() && r.Generation == e.Desired {
		return true
	}
	return e.Stopped || e.Desired == e.Serving && e.Failed == nil
}

// verifying makes a draft one that starts an instance to see whether it can.
func verifying(d draft, e *entry) draft {
	if e != nil && !e.removed && d.kind == writeLive {
		d.stored.Serving, d.stored.PrevServing = e.Serving, e.PrevServing // it has still to show
		d.stored = retry(d.stored)
	}
	d.kind, d.save = writeVerify, true
	return d
}

// warnings is what only this host can say against a spec; the start will.
func (s *Supervisor) warnings(spec candidate) []app.Violation {
	found := spec.warnings
	port := spec.Listen.Port
	if e := s.entries[spec.Name]; port != 0 && (e == nil || servingOf(e.Stored).Spec.Listen.Port != port) {
		if owner, busy := s.cfg.Prober.PortOwner(port); busy {
			found = append(found, app.Violation{
				Field: "listen.port", Message: fmt.Sprintf("port %d is in use by %s: it cannot start before that ends", port, owner),
			})
		}
	}
	return prefixed(spec.Name, found)
}

// prune drafts the removal of the manifest's apps that are not among specs.
func (s *Supervisor) prune(manifest string, specs []candidate) []draft {
	var drafts []draft
	for _, name := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[name]
		named := slices.ContainsFunc(specs, func(spec candidate) bool { return spec.Name == name })
		if e.removed || named || e.Manifest != manifest {
			continue
		}
		drafts = append(drafts, draft{ApplyResult: ApplyResult{Name: name, Action: ActionDeleted}, kind: writeRemove})
	}
	return drafts
}

// checkConflicts refuses what two apps would have after the write.
func (s *Supervisor) checkConflicts(drafts []draft) error {
	return conflictFault(s.conflictsAfter(drafts))
}

// claimFaults is what two apps would have if the faulty specs among these were
// mended, for whoever mends them to see it all at once.
func (s *Supervisor) claimFaults(req ApplyRequest, specs []candidate) []app.Violation {
	var drafts []draft
	seen := map[string]bool{}
	for _, spec := range specs {
		if seen[spec.Name] {
			continue // given twice: a fault of its own
		}
		seen[spec.Name] = true
		next := app.Stored{Name: spec.Name, Desired: -1, Serving: -1, Generations: []app.Generation{{Number: -1, Spec: spec.Spec}}}
		drafts = append(drafts, draft{ApplyResult: ApplyResult{Name: spec.Name}, stored: next})
	}
	if req.Prune && req.Manifest != "" {
		drafts = append(drafts, s.prune(req.Manifest, specs)...)
	}
	var faults []app.Violation
	for _, c := range s.conflictsAfter(drafts) {
		faults = append(faults, c.violation())
	}
	return faults
}

// conflictsAfter is what two apps would have after the write.
func (s *Supervisor) conflictsAfter(drafts []draft) []conflict {
	after := map[string]app.Stored{}
	for name, e := range s.entries {
		if !e.removed {
			after[name] = e.Stored
		}
	}
	var changed []string
	for _, d := range drafts {
		if d.Action == ActionDeleted {
			delete(after, d.Name)
			continue
		}
		after[d.Name] = d.stored
		changed = append(changed, d.Name)
	}
	return conflicts(after, changed)
}

// carryOut stores what was drafted, in one transaction, and puts it into effect.
func (s *Supervisor) carryOut(drafts []draft, actor string) error {
	var put []app.Stored
	var remove []string
	for _, d := range drafts {
		switch {
		case d.Action == ActionDeleted:
			remove = append(remove, d.Name)
		case d.save:
			put = append(put, d.stored)
		}
	}
	if len(put)+len(remove) > 0 {
		if err := s.store(put, remove); err != nil {
			return storing("", err)
		}
	}
	for i := range drafts {
		s.effect(&drafts[i], actor)
	}
	return nil
}

// effect tells an app's controller what was drafted for it.
func (s *Supervisor) effect(d *draft, actor string) {
	e := s.entries[d.Name]
	if e.ctl == nil {
		s.launchController(e)
	}
	switch d.Action {
	case ActionCreated:
		s.record(app.EventAppCreated, d.Name, actor, "app created")
	case ActionUpdated:
		s.record(app.EventAppUpdated, d.Name, actor, "app updated: "+strings.Join(d.ChangedPaths, ", "))
	case ActionDeleted:
		s.remove(e, actor)
		d.Rollout = e.rollout
		return
	}
	w := s.tell(e, d.kind)
	d.App, d.Rollout = w.app, w.rollout
}

// record appends an event of what an operator did.
func (s *Supervisor) record(id app.EventID, name, actor, message string) {
	s.cfg.Recorder.Record(app.Event{ID: id, App: name, Actor: actor, Severity: app.Info, Message: message})
}
