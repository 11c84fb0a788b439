package supervisor

import (
	"context"
	"fmt"
	"slices"

	"github.com/roostd/roost/daemon/internal/app"
)

// edit is what becomes of an app.
type edit struct {
	next    app.Stored
	kind    writeKind
	event   app.EventID // "": nothing happened
	message string
}

// change has f work out what becomes of an app, stores that, and tells the app's
// controller.
func (s *Supervisor) change(ctx context.Context, name, actor string, f func(e *entry) (edit, error)) (app.App, string, error) {
	w, err := ask(ctx, s, func() (written, error) {
		e, err := s.known(name)
		if err != nil {
			return written{}, err
		}
		what, err := f(e)
		if err != nil {
			return written{}, err
		}
		if err := s.store([]app.Stored{what.next}, nil); err != nil {
			return written{}, storing(name, err)
		}
		if what.event != "" {
			s.record(what.event, name, actor, what.message)
		}
		return s.tell(e, what.kind), nil
	})
	return w.app, w.rollout, err
}

// Start puts an app in service and starts its instances, whatever start.when
// says. app.NotFound where there is none, app.WrongState where its folder keeps it
// offline.
func (s *Supervisor) Start(ctx context.Context, name, actor string) (app.App, string, error) {
	return s.change(ctx, name, actor, func(e *entry) (edit, error) {
		if e.folder.Page != nil {
			return edit{}, offlineByFile(name, e.watched.Dir)
		}
		next := e.Stored
		next.Stopped, next.RapidFail, next.Offline, next.Resumes = false, nil, nil, false
		return edit{serveLatest(next, e), writeStart, app.EventAppStarted, "app started by an operator"}, nil
	})
}

// Stop takes an app out of service: its instances are drained and stopped, and
// nothing starts it until Start. app.NotFound where there is none.
func (s *Supervisor) Stop(ctx context.Context, name, actor string) (app.App, string, error) {
	return s.change(ctx, name, actor, func(e *entry) (edit, error) {
		next := superseded(e.Stored)
		next.Stopped, next.RapidFail, next.Offline, next.Resumes = true, nil, nil, false
		return edit{next, writeStop, app.EventAppStopped, "app stopped by an operator"}, nil
	})
}

// Recycle replaces every instance by a new one of the desired generation; its
// folder's links are resolved again. The rollout is "" where nothing runs.
// app.NotFound, or app.WrongState where the app is stopped or offline, or its folder is gone.
func (s *Supervisor) Recycle(ctx context.Context, name, actor string) (app.App, string, error) {
	var asked, resolved string
	var unresolved error
	if a, ok := s.apps.Get(name); ok { // no other write waits for its file system
		asked = desiredOf(a.Stored).Spec.Dir
		resolved, unresolved = s.resolveDir(asked)
	}
	return s.change(ctx, name, actor, func(e *entry) (edit, error) {
		if e.Stopped && e.RapidFail == nil {
			return edit{}, app.Errorf(app.WrongState, app.ReasonAppStopped, name, "%s is stopped: roostctl start %s", name, name)
		}
		if err := offlineError(e); err != nil {
			return edit{}, err
		}
		desired := desiredOf(e.Stored)
		dir, err := resolved, unresolved
		if desired.Spec.Dir != asked { // a write came in between
			dir, err = s.resolveDir(desired.Spec.Dir)
		}
		if err != nil {
			return edit{}, &app.Fault{
				Kind: app.WrongState, Reason: app.ReasonInvalidSpec, App: name,
				Message: fmt.Sprintf("%s cannot be recycled: %v", name, err), Err: err,
			}
		}
		next := inService(retry(e.Stored))
		if dir != desired.ResolvedDir {
			g, err := s.nextGeneration(name, dir, actor, desired.Spec)
			if err != nil {
				return edit{}, storing(name, err)
			}
			next = inService(accept(e.Stored, g))
		}
		kind := writeReplace
		if !e.ctl.inUse.Load() || s.pageIn(e, dir) != nil {
			next, kind = serveDesired(next), writeRefresh
		}
		return edit{next, kind, app.EventAppRecycled, "app recycled by an operator"}, nil
	})
}

// Scale sets the number of instances and leaves the running ones alone. The
// rollout is "" where nothing runs. app.NotFound, or app.Invalid for a number that
// the spec does not allow.
func (s *Supervisor) Scale(ctx context.Context, name string, n int, actor string) (app.App, string, error) {
	return s.change(ctx, name, actor, func(e *entry) (edit, error) {
		next := withInstances(e.Stored, n)
		for _, g := range []app.Generation{desiredOf(next), servingOf(next)} {
			if faults := g.Spec.Validate(); len(faults) > 0 {
				return edit{}, invalid(prefixed(name, faults))
			}
		}
		return edit{next, writeScale, app.EventAppScaled, fmt.Sprintf("app scaled to %d instances", n)}, nil
	})
}

// Rollback makes an earlier generation the desired one, as a new generation in
// the folder that the earlier one was pinned to. 0 is the serving one where the
// desired differs, else the one that served before it. app.NotFound for the app
// or the generation, app.Conflict where another app has its route or port now.
func (s *Supervisor) Rollback(ctx context.Context, name string, to int64, actor string) (app.App, string, error) {
	return s.change(ctx, name, actor, func(e *entry) (edit, error) {
		from, err := rollbackTarget(e.Stored, to)
		if err != nil {
			return edit{}, err
		}
		g, err := s.nextGeneration(name, from.ResolvedDir, actor, from.Spec)
		if err != nil {
			return edit{}, storing(name, err)
		}
		d := draft{ApplyResult: ApplyResult{Name: name}, stored: accept(e.Stored, g), kind: writeReplace}
		if !e.ctl.inUse.Load() || !replaces(servingOf(e.Stored), g) || s.pageIn(e, g.ResolvedDir) != nil {
			d.stored, d.kind = serveDesired(d.stored), writeLive
		}
		if err := s.checkConflicts([]draft{d}); err != nil {
			return edit{}, err
		}
		message := fmt.Sprintf("app rolled back to generation %d, as %d", from.Number, g.Number)
		return edit{d.stored, d.kind, app.EventAppUpdated, message}, nil
	})
}

// rollbackTarget is the generation that a rollback returns to.
func rollbackTarget(a app.Stored, to int64) (app.Generation, error) {
	switch {
	case to != 0:
	case a.Desired != a.Serving:
		to = a.Serving
	default:
		to = a.PrevServing
	}
	if g, ok := generation(a, to); ok {
		return g, nil
	}
	if to == 0 {
		return app.Generation{}, app.Errorf(app.NotFound, app.ReasonNotFound, a.Name, "%s has no earlier generation to return to", a.Name)
	}
	return app.Generation{}, app.Errorf(app.NotFound, app.ReasonNotFound, a.Name,
		"%s has no generation %d any more: see roostctl history %s", a.Name, to, a.Name)
}

// Delete drains and stops an app and forgets it. app.NotFound, or app.Stale for
// an etag that no longer matches ("" always does).
func (s *Supervisor) Delete(ctx context.Context, name, etag, actor string) (rollout string, err error) {
	return ask(ctx, s, func() (string, error) {
		e, err := s.known(name)
		if err != nil {
			return "", err
		}
		if err := s.checkEtag(name, etag); err != nil {
			return "", err
		}
		if err := s.store(nil, []string{name}); err != nil {
			return "", storing(name, err)
		}
		s.remove(e, actor)
		return e.rollout, nil
	})
}

// remove ends an app that is no longer stored.
func (s *Supervisor) remove(e *entry, actor string) {
	s.record(app.EventAppDeleted, e.Name, actor, "app removed")
	e.version++
	s.tell(e, writeRemove)
	s.apps.Delete(e.Name)
}

// Generations returns the kept generations of an app, oldest first, and which of
// them are desired and serving. app.NotFound where there is no such app.
func (s *Supervisor) Generations(name string) (list []app.Generation, desired, serving int64, err error) {
	a, ok := s.apps.Get(name)
	if !ok {
		return nil, 0, 0, notFound(name)
	}
	return slices.Clone(a.Generations), a.Desired, a.Serving, nil
}
