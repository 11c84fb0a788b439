package supervisor

import (
	"reflect"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// situation is what an app's state is made of.
type situation struct {
	stopped, offline, blocked, failed bool // failed: the last start
	wanted                            int  // instances; 0 where it need not run
	ready, starting, unready          int
}

// stateOf sums an app up in one word.
func stateOf(s situation) app.State {
	switch {
	case s.stopped:
		return app.StateStopped
	case s.offline:
		return app.StateOffline
	case s.ready > 0 && s.ready >= s.wanted:
		return app.StateRunning
	case s.ready > 0 || s.unready > 0:
		return app.StateDegraded
	case s.starting > 0:
		return app.StateStarting
	case s.blocked:
		return app.StateBlocked
	case s.failed:
		return app.StateFailed
	case s.wanted > 0:
		return app.StateStarting // after a pause
	}
	return app.StateIdle
}

// situation is the app's, now.
func (c *controller) situation(now time.Time) situation {
	_, blocked := c.blockedUntil(now)
	s := situation{stopped: c.stored.Stopped, offline: c.page() != nil, blocked: blocked, failed: c.fault != nil}
	if c.wanted() {
		s.wanted = *c.serving().Spec.Instances
	}
	for _, m := range c.members {
		switch m.Phase {
		case app.PhaseReady:
			s.ready++
		case app.PhaseStarting:
			s.starting++
		case app.PhaseUnready:
			s.unready++
		}
	}
	return s
}

// show puts what has changed where all can see it.
func (c *controller) show(now time.Time) {
	for _, m := range c.members {
		if !reflect.DeepEqual(m.Instance, m.shown) {
			m.shown = m.Instance
			c.instances.Set(m.ID, m.Instance)
		}
	}
	if c.removed {
		return
	}
	if a := c.snapshot(now); !reflect.DeepEqual(a, c.shown) {
		c.shown = a
		c.apps.Set(c.name, a)
	}
}

// snapshot is the app as it is shown.
func (c *controller) snapshot(now time.Time) app.App {
	s := c.situation(now)
	a := app.App{
		Stored: c.stored, State: stateOf(s), Ready: s.ready, Instances: *c.serving().Spec.Instances,
		Conditions: c.sortedConditions(),
	}
	until, blocked := c.blockedUntil(now)
	switch {
	case s.stopped || s.offline: // no time ends that
	case blocked:
		a.RetryTime = until
	case now.Before(c.retryAt):
		a.RetryTime = c.retryAt
	}
	if len(c.past) > 0 {
		if r, ok := c.rollouts.Get(c.past[len(c.past)-1]); ok {
			a.Rollout = &r
		}
	}
	return a
}

// buildSet is what the proxies should know of the app.
func (c *controller) buildSet() app.EndpointSet {
	spec := c.serving().Spec
	set := app.EndpointSet{
		App: c.name, Requests: spec.Requests, DetailedErrors: spec.DetailedErrors(), Drain: *spec.Stop.Drain,
		Preset: spec.Preset, DisableStartupPage: spec.ErrorPage.DisableStartup, Offline: c.page(),
	}
	if !c.removed {
		set.Routes = spec.Routes
	}
	for _, m := range c.members {
		if m.Address == "" || !m.takes() && m.Phase != app.PhaseDraining {
			continue
		}
		set.Endpoints = append(set.Endpoints, app.Endpoint{
			Instance: m.ID, Generation: m.Generation, Address: m.Address, Token: m.launch.Token,
			Draining: m.Phase == app.PhaseDraining, ReadyTime: m.ReadyTime, Preset: m.launch.Spec.Preset,
		})
	}
	return set
}
