package supervisor

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// folderOf is what is to be watched for an app: the folder that it runs from. One
// that a rollout is to bring counts from when it serves.
func folderOf(a app.Stored) app.Folder {
	g := servingOf(a)
	return app.Folder{Dir: g.ResolvedDir, Watch: g.Spec.Recycle.Watch, Settle: *g.Spec.Recycle.Settle}
}

// pageTurn is an app whose page came or went, and what it was before.
type pageTurn struct {
	*entry
	was *app.OfflinePage
}

// watchFolders has the folders watched that apps run from, and returns whose page came
// or went. All are looked at together, so that many that do not answer take no longer
// than one.
func (s *Supervisor) watchFolders(list []*entry) []pageTurn {
	turns := make([]pageTurn, len(list))
	var wg sync.WaitGroup
	for i, e := range list {
		wg.Go(func() {
			if was := e.folder.Page; s.watchFolder(e) {
				turns[i] = pageTurn{e, was}
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(turns, func(t pageTurn) bool { return t.entry == nil })
}

// watchFolder has the folder watched that an app runs from, and looks whether that
// takes it out of service. It tells whether the app's page came or went.
func (s *Supervisor) watchFolder(e *entry) bool {
	want := folderOf(e.Stored)
	if reflect.DeepEqual(want, e.watched) {
		return false
	}
	was := e.folder.Page
	e.folder = app.FolderState{Page: was, Polled: e.folder.Polled}
	e.look++
	if want.Dir != e.watched.Dir {
		e.folder.Page = s.lookAt(want.Dir)
	}
	e.watched = want
	s.cfg.Watcher.Watch(e.Name, want)
	return (was == nil) != (e.folder.Page == nil)
}

// pageIn is the page that an app has in a folder, by what is known of that which
// it runs from. e may be nil.
func (s *Supervisor) pageIn(e *entry, dir string) *app.OfflinePage {
	if e != nil && !e.removed && e.watched.Dir == dir {
		return e.folder.Page
	}
	return s.lookAt(dir)
}

// folderChanged takes over what the folder of an app shows now.
func (s *Supervisor) folderChanged(change app.FolderChange) {
	e := s.entries[change.App]
	if s.closing || e == nil || e.removed || !reflect.DeepEqual(change.Folder, e.watched) {
		return
	}
	if reflect.DeepEqual(change.State, e.folder) {
		return
	}
	was := e.folder
	e.folder = change.State
	e.look++
	if (was.Page == nil) != (e.folder.Page == nil) {
		s.recordPage(e, was.Page)
		s.settlePage(e)
	}
	s.recordPolling(e, was.Polled)
	s.tell(e, writeFolder)
}

// settlePage writes down what it means for an app, and its generations, that its
// page came or went. The page takes effect even where that fails.
func (s *Supervisor) settlePage(e *entry) {
	next := e.Stored
	came := e.folder.Page != nil
	if next.Stopped || next.Offline != nil {
		return
	}
	next.Resumes = came && e.ctl.byHand.Load()
	switch {
	case next.Desired == next.Serving:
		if next.Resumes == e.Resumes {
			return
		}
	case came:
		next = superseded(next)
	default:
		next = serveLatest(next, e)
	}
	if err := s.store([]app.Stored{next}, nil); err != nil {
		s.cfg.Log.Error("state not written", "app", e.Name, "error", err)
	}
}

// recordPage appends the event of a page that came or went in an app's folder.
func (s *Supervisor) recordPage(e *entry, was *app.OfflinePage) {
	id, message := app.EventAppOffline, "app taken offline: "+app.OfflineFile+" is in "+e.watched.Dir
	switch {
	case was == nil:
	case e.Offline != nil:
		return // an operator keeps it out
	default:
		id, message = app.EventAppOnline, "app put back in service: "+app.OfflineFile+" is gone"
	}
	s.cfg.Recorder.Record(app.Event{
		ID: id, App: e.Name, Severity: app.Info, Message: message, Attributes: map[string]string{"dir": e.watched.Dir},
	})
}

// recordPolling appends the event of a folder that is polled, or is no longer.
func (s *Supervisor) recordPolling(e *entry, was string) {
	event := app.Event{ID: app.EventConditionAppeared, App: e.Name, Severity: app.Warning}
	switch now := e.folder.Polled; {
	case now != "" && was == "":
		event.Message = "condition " + app.CondFolderPolled + ": " + now
	case now == "" && was != "":
		event.ID, event.Severity = app.EventConditionDisappear, app.Info
		event.Message = "condition " + app.CondFolderPolled + " is gone"
	default:
		return
	}
	s.cfg.Recorder.Record(event)
}

// settled has the app recycled where watched files have become quiet since before,
// or did while no daemon was there to see it. What is started from now on has seen
// them.
func (c *controller) settled(before int) {
	file := ""
	switch {
	case c.folder.Settled > before:
		file = c.folder.Changed
	case c.unseen && slices.ContainsFunc(c.members, c.missed):
		file = c.folder.Newest
	}
	c.unseen = false
	if file != "" {
		c.recycleAll(cause{trigger: "recycle.watch", message: file + " changed", measured: file})
	}
}

// missed tells whether a watched file was changed after the instance was started.
func (c *controller) missed(m *member) bool {
	return m.live() && c.folder.Newest != "" && m.StartTime.Before(c.folder.NewestTime)
}

// changingPatience is how long watched files may change before people are told: a
// deployment takes its time.
const changingPatience = 30 * time.Second

// lookForChanges tells where watched files do not become quiet, for nothing is started
// before they do, and returns when to look again.
func (c *controller) lookForChanges(now time.Time) time.Time {
	if c.folder.Changing == "" {
		c.unrest = time.Time{}
		c.dropCondition(app.CondFolderChanging)
		return time.Time{}
	}
	if c.unrest.IsZero() {
		c.unrest = now
	}
	settle := *c.serving().Spec.Recycle.Settle
	if at := c.unrest.Add(changingPatience + settle); now.Before(at) {
		return at
	}
	c.noteCondition(app.CondFolderChanging, fmt.Sprintf(
		"nothing is started, for a file that recycle.watch matches is changed again and again, last %s: take what is written all the time out of recycle.watch",
		c.folder.Changing), false)
	return time.Time{}
}
