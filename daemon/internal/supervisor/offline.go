package supervisor

import (
	"context"
	"fmt"

	"github.com/roostd/roost/daemon/internal/app"
)

// SetOffline takes an app out of service with a page that every request gets, or
// puts it back where page is nil. Of stop, start and offline the newest counts.
// The rollout is "" where the app is in service already, or its folder keeps it
// out. app.NotFound, app.Invalid for a page that is too large, app.WrongState where
// an app that is stopped is to be put back.
func (s *Supervisor) SetOffline(ctx context.Context, name string, page *app.OfflinePage, actor string) (app.App, string, error) {
	if page != nil && len(page.Page) > app.MaxOfflinePage {
		return app.App{}, "", app.Errorf(app.Invalid, app.ReasonInvalidArgument, name,
			"the page has %d bytes, and may have %d", len(page.Page), app.MaxOfflinePage)
	}
	return s.change(ctx, name, actor, func(e *entry) (edit, error) {
		if page == nil {
			return s.putBack(e)
		}
		next := superseded(e.Stored)
		if e.Offline == nil && e.folder.Page == nil {
			next.Resumes = e.ctl.byHand.Load()
		}
		next.Stopped, next.RapidFail, next.Offline = false, nil, page
		return edit{next, writeOffline, app.EventAppOffline, "app taken offline by an operator"}, nil
	})
}

func (s *Supervisor) putBack(e *entry) (edit, error) {
	if e.Stopped {
		return edit{}, app.Errorf(app.WrongState, app.ReasonAppStopped, e.Name, "%s is stopped: roostctl start %s", e.Name, e.Name)
	}
	what := edit{next: e.Stored, kind: writeOnline}
	if e.Offline == nil {
		return what, nil
	}
	what.next.Offline = nil
	if e.folder.Page == nil {
		what.next.Resumes = false
		what.next = serveLatest(what.next, e)
	}
	what.event, what.message = app.EventAppOnline, "app put back in service by an operator"
	return what, nil
}

// serveLatest is a with its desired generation serving, where nothing of the app
// runs that a rollout could keep.
func serveLatest(a app.Stored, e *entry) app.Stored {
	if a.Desired != a.Serving && a.Failed == nil && !e.ctl.inUse.Load() {
		return serveDesired(a)
	}
	return a
}

// offlineError is why an app that is offline cannot be worked on; nil where it is
// not.
func offlineError(e *entry) error {
	switch {
	case e.Offline != nil:
		return app.Errorf(app.WrongState, app.ReasonAppOffline, e.Name, "%s is offline: roostctl online %s", e.Name, e.Name)
	case e.folder.Page != nil:
		return offlineByFile(e.Name, e.watched.Dir)
	}
	return nil
}

func offlineByFile(name, dir string) error {
	return app.Errorf(app.WrongState, app.ReasonAppOffline, name,
		"%s is offline: remove %s from %s", name, app.OfflineFile, dir)
}

// page is what keeps the app out of service; nil while it is in service. That of
// an operator goes before that of the folder.
func (c *controller) page() *app.OfflinePage {
	if c.stored.Offline != nil {
		return c.stored.Offline
	}
	return c.folder.Page
}

// turnPage puts into effect that the app is offline now, or no longer.
func (c *controller) turnPage() {
	offline := c.page() != nil
	if offline == c.offline {
		return
	}
	c.offline = offline
	if offline {
		c.resumes = c.runsByHand() || c.stored.Resumes
	}
	switch {
	case c.removed || c.stopping || c.stored.Stopped: // nothing runs anyway
	case offline:
		c.takeOut(rollOffline)
	default:
		c.comeBack()
	}
}

// runsByHand tells whether the app runs because an operator started it, and nothing
// else would.
func (c *controller) runsByHand() bool {
	return c.demand != demandNone && c.serving().Spec.Start.When == app.StartManual
}

// stayOffline has an app that the daemon found offline be so without a rollout, where
// nothing is left of it.
func (c *controller) stayOffline() {
	if c.page() != nil && len(c.members) == 0 {
		c.offline, c.resumes = true, c.stored.Resumes
	}
}

// comeBack puts the app in service again. As before that a request starts it, but
// for what starts unasked or was started by hand.
func (c *controller) comeBack() {
	c.forgive()
	boot{}.on(c)
	if c.resumes {
		c.demand = demandOperator
	}
	c.resumes = false
	if c.wanted() {
		c.begin(&rollout{kind: rollRun})
		return
	}
	c.begin(&rollout{kind: rollRoutes})
}

// takesOffline tells whether the rollout ends with the app offline.
func (r *rollout) takesOffline() bool { return r != nil && r.kind == rollOffline }

func (c *controller) offlineFault() *app.Fault {
	f := app.Errorf(app.WrongState, app.ReasonAppOffline, c.name, "%s is offline", c.name)
	f.Revision = c.set.Revision
	return f
}

// folderConditions are what its folder brings the app, and what takes it offline.
func (c *controller) folderConditions() []app.Condition {
	var list []app.Condition
	switch {
	case c.stored.Offline != nil:
		list = append(list, app.Condition{Type: app.CondOffline, Message: "by an operator: roostctl online " + c.name})
	case c.folder.Page != nil:
		list = append(list, app.Condition{
			Type:    app.CondOffline,
			Message: fmt.Sprintf("%s is in %s: remove it", app.OfflineFile, c.serving().ResolvedDir),
		})
	}
	if c.folder.Polled != "" {
		list = append(list, app.Condition{Type: app.CondFolderPolled, Message: c.folder.Polled})
	}
	return list
}
