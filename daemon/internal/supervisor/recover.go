package supervisor

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/failpoint"
)

const (
	// recoverParallel is how many recovered processes are probed at once.
	recoverParallel = 16
	// recoverCheckLimit bounds one such probe: a process that does not answer
	// must not keep the others from being published.
	recoverCheckLimit = 2 * time.Second
)

// found is a process of an earlier daemon.
type found struct {
	app.Process
	info    app.ProcessInfo
	ready   time.Time // when it became ready; zero: it did not
	address string
	passed  bool // it is ready still
}

// told tells whether the process has the note.
func (f *found) told(note string) bool { return f.info.Notes[note] != "" }

// began is when the process was started, on our own clock.
func (f *found) began(now time.Time) time.Time {
	if f.info.Began.IsZero() {
		return onOurClock(f.info.StartTime, now)
	}
	return f.info.Began
}

// readySince is when it became ready, on our own clock: so long after its start as
// the wall clock said.
func (f *found) readySince(now time.Time) time.Time {
	at := f.began(now).Add(max(0, f.ready.Sub(f.info.StartTime)))
	if at.After(now) {
		return now
	}
	return at
}

// serves tells whether the process takes requests, or did and may again.
func (f *found) serves() bool {
	return !f.ready.IsZero() && !f.told(noteStopping) && !closed(f.Exited())
}

// reconcile makes the controllers of all stored apps, with the processes that are
// there, and of apps that are gone but for their processes. Everything has been
// published once when it returns.
func (s *Supervisor) reconcile(ctx context.Context) error {
	stored, err := s.cfg.Store.Load()
	if err != nil {
		return fmt.Errorf("reading what apps should be: %w", err)
	}
	processes, err := s.cfg.Launcher.Recover(ctx)
	if err != nil {
		return fmt.Errorf("finding the processes of earlier daemons: %w", err)
	}
	failpoint.Here(failpoint.Recovered)
	for _, a := range stored {
		s.entries[a.Name] = &entry{versioned: versioned{Stored: a}}
	}
	byApp := map[string][]*found{}
	for _, p := range processes {
		f := newFound(p)
		byApp[f.info.App] = append(byApp[f.info.App], f)
		if s.entries[f.info.App] == nil {
			s.entries[f.info.App] = &entry{versioned: versioned{Stored: app.Stored{Name: f.info.App}}, removed: true}
		}
	}
	if err := s.serveWhereNothingDoes(byApp); err != nil {
		return fmt.Errorf("writing what apps serve: %w", err)
	}
	s.reserveFixedPorts()
	there := slices.DeleteFunc(slices.Collect(maps.Values(s.entries)), func(e *entry) bool { return e.removed })
	for _, turned := range s.watchFolders(there) {
		if anyServes(byApp[turned.Name]) {
			s.recordPage(turned.entry, nil) // it came while no daemon was there
			if err := s.noteResumes(turned.entry); err != nil {
				return fmt.Errorf("writing that %s runs again once it is back: %w", turned.Name, err)
			}
		}
	}
	s.probeFound(ctx, byApp)
	for name, e := range s.entries {
		e.ctl = newController(ctx, s.shared, e.versioned)
		e.ctl.removed = e.removed
		e.ctl.takeOver(byApp[name])
		e.ctl.stayOffline()
		if e.ctl.roll != nil {
			e.rollout = e.ctl.roll.id
		}
		e.ctl.publishAnew()
		e.ctl.goOnStopping()
		e.ctl.show(time.Now())
	}
	for _, e := range s.entries {
		s.runController(e)
	}
	return nil
}

func newFound(p app.Process) *found {
	f := &found{Process: p, info: p.Info()}
	f.ready, _ = time.Parse(time.RFC3339Nano, f.info.Notes[noteReady]) // zero where there is none
	f.address = f.info.Notes[noteAddress]
	return f
}

// serveWhereNothingDoes makes the desired generation the serving one where no
// instance of an app serves: a rollout would have nothing to keep.
func (s *Supervisor) serveWhereNothingDoes(byApp map[string][]*found) error {
	var put []app.Stored
	for name, e := range s.entries {
		if e.removed || e.Desired == e.Serving || e.Failed != nil || anyServes(byApp[name]) {
			continue
		}
		put = append(put, serveDesired(e.Stored))
	}
	if len(put) == 0 {
		return nil
	}
	return s.store(put, nil)
}

// noteResumes writes down that an app was started by hand, and runs, but for the page
// in its folder.
func (s *Supervisor) noteResumes(e *entry) error {
	next := e.Stored
	if next.Stopped || next.Offline != nil || next.Resumes || servingOf(next).Spec.Start.When != app.StartManual {
		return nil
	}
	next.Resumes = true
	return s.store([]app.Stored{next}, nil)
}

func anyServes(list []*found) bool {
	for _, f := range list {
		if f.serves() {
			return true
		}
	}
	return false
}

// launchOf is what the process was launched with, as far as it can be known.
func (f *found) launchOf(a app.Stored) app.Launch {
	l := app.Launch{
		ID: f.info.ID, Generation: f.info.Generation, Token: f.info.Token, Notes: f.info.Notes,
		Spec: app.Spec{Name: f.info.App}.WithDefaults(),
	}
	if g, ok := generation(a, f.info.Generation); ok {
		l.Spec, l.Dir, l.PathBase = g.Spec, g.ResolvedDir, pathBase(g.Spec)
	}
	if _, port, err := net.SplitHostPort(f.info.Address); err == nil {
		l.Port, _ = strconv.Atoi(port) // an address of the keeper's is well formed
	}
	return l
}

// probeFound asks every process that was ready whether it still is.
func (s *Supervisor) probeFound(ctx context.Context, byApp map[string][]*found) {
	var wg sync.WaitGroup
	free := make(chan struct{}, recoverParallel)
	for name, list := range byApp {
		for _, f := range list {
			if !f.serves() {
				continue
			}
			free <- struct{}{}
			wg.Go(func() {
				defer func() { <-free }()
				ask, cancel := context.WithTimeout(ctx, recoverCheckLimit)
				defer cancel()
				err := s.cfg.Prober.Check(ask, f.Process, f.launchOf(s.entries[name].Stored), f.address)
				if f.passed = err == nil; err != nil {
					s.cfg.Log.Warn("recovered instance is not ready", "app", name, "instance", string(f.info.ID), "error", err)
				}
			})
		}
	}
	wg.Wait()
}

// takeOver makes what earlier daemons launched the controller's, before it runs.
func (c *controller) takeOver(list []*found) {
	slices.SortFunc(list, func(a, b *found) int { return a.info.StartTime.Compare(b.info.StartTime) })
	for _, f := range list {
		switch {
		case f.told(noteAccounted) && closed(f.Gone()):
			c.takeOverEnded(f)
		default:
			c.takeOverMember(f)
		}
	}
	c.adoptBlocked()
	c.unseen = len(c.members) > 0
	if a := c.stored; a.Desired != a.Serving && a.Failed == nil && !c.out() {
		c.resumeRollout()
	}
	for _, m := range c.members {
		if c.roll == nil || m.Rollout != c.roll.id {
			m.Rollout = "" // of a rollout that nobody remembers
		}
	}
}

// takeOverEnded shows an instance whose end has been accounted for.
func (c *controller) takeOverEnded(f *found) {
	exit := f.Exit()
	c.instances.Set(f.info.ID, app.Instance{
		ID: f.info.ID, App: c.name, Generation: f.info.Generation, Phase: app.PhaseExited, PID: f.info.PID,
		Address: f.address, StartTime: f.info.StartTime, ReadyTime: f.ready, Exit: &exit,
		Reason: f.info.Notes[noteStopping], Output: f.info.Output,
	})
	c.ended = append(c.ended, endedInstance{f.info.ID, f.Process})
}

// takeOverMember follows a process to its end, which may have come already: its
// instance then reports that as if it had just happened.
func (c *controller) takeOverMember(f *found) {
	l := f.launchOf(c.stored)
	m := &member{launch: l, process: f.Process, orders: make(chan order, 1)}
	m.published = !f.ready.IsZero() // perhaps
	m.started = f.began(time.Now())
	m.Instance = app.Instance{
		ID: l.ID, App: c.name, Generation: l.Generation, Phase: app.PhaseStarting, PID: f.info.PID,
		StartTime: f.info.StartTime, ReadyTime: f.ready, Reason: "found running", Rollout: f.info.Notes[noteRollout],
		Output: f.info.Output,
	}
	switch {
	case f.told(noteStopping):
		m.Reason, m.Address = f.info.Notes[noteStopping], f.address
		m.Phase, m.draining = app.PhaseDraining, !f.ready.IsZero()
	case !f.ready.IsZero():
		m.Phase, m.Address = app.PhaseUnready, f.address
		if f.passed {
			m.Phase, m.readySince, m.told.ready = app.PhaseReady, f.readySince(time.Now()), true
		}
		if closed(f.Exited()) {
			m.readySince = f.readySince(time.Now()) // until it ended
		}
		c.established = true
		c.demand = demandOperator
	default:
		c.demand = max(c.demand, demandRequest)
	}
	c.adoptConditions(f.info)
	c.members = append(c.members, m)
	i := c.instance(m)
	i.adoptPort()
	c.wg.Go(func() { i.resume(c.ctx, f.Process, f.address, f.passed) })
}

// goOnStopping tells the instances again that an earlier daemon had told to stop:
// how far they got is not known, so they drain again.
func (c *controller) goOnStopping() {
	for _, m := range c.members {
		if !m.live() {
			m.stop(c.stopOrder(m))
		}
	}
}

// resumeRollout goes on with the rollout that an earlier daemon left. Instances
// of the desired generation are its own.
func (c *controller) resumeRollout() {
	r := &rollout{kind: rollReplace}
	for _, m := range c.members {
		if m.Generation == c.stored.Desired && m.Rollout != "" {
			r.id = m.Rollout
		}
	}
	c.begin(r)
	for _, m := range c.members {
		if m.Generation == c.stored.Desired {
			m.Rollout, m.probation = r.id, c.probation()
		}
	}
}
