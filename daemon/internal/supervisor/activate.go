package supervisor

import (
	"fmt"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// waiter is an activation that has not been answered.
type waiter struct {
	failed   []app.InstanceID       // to be probed again before the answer
	asked    map[app.InstanceID]int // the questions
	admitted bool                   // it counts as demand
	reply    chan activation        // holds one
}

// activation answers a waiter: a set with a ready endpoint, or why there is none.
type activation struct {
	set   app.EndpointSet
	fault *app.Fault
}

// activate is a request's demand for an endpoint.
type activate struct{ *waiter }

func (e activate) on(c *controller) {
	e.asked = map[app.InstanceID]int{}
	for _, id := range e.failed {
		if m := c.member(id); m != nil && m.Phase == app.PhaseReady {
			e.asked[id] = m.check()
		}
	}
	c.waiters = append(c.waiters, e.waiter)
}

// answerWaiters answers those who need not wait any more, and turns the others
// into demand.
func (c *controller) answerWaiters(now time.Time) {
	c.waiters = slices.DeleteFunc(c.waiters, func(w *waiter) bool {
		if c.checking(w) {
			return false
		}
		if c.anyReady() {
			// The publisher gives the set its epoch.
			set, _ := c.cfg.Publisher.Current(c.name)
			w.reply <- activation{set: set}
			c.lastAsked = now
			return true
		}
		if w.admitted {
			return false
		}
		if fault := c.refusal(now); fault != nil {
			w.reply <- activation{fault: fault}
			return true
		}
		w.admitted = true
		c.demanded()
		return false
	})
}

// checking tells whether an instance that failed the waiter is still being probed.
func (c *controller) checking(w *waiter) bool {
	for id, question := range w.asked {
		if m := c.member(id); m != nil && m.live() && m.answered < question {
			return true
		}
	}
	return false
}

// anyReady tells whether an instance takes requests. A worker's cannot.
func (c *controller) anyReady() bool {
	return slices.ContainsFunc(c.members, func(m *member) bool { return m.Phase == app.PhaseReady })
}

// refusal is why a request may not start the app now, or wait for it; nil where
// it may.
func (c *controller) refusal(now time.Time) *app.Fault {
	switch until, blocked := c.blockedUntil(now); {
	case c.removed:
		return notFound(c.name)
	case c.stopping:
		return shuttingDown(c.name)
	case c.stored.Stopped:
		return c.stoppedFault()
	case c.page() != nil:
		return c.offlineFault()
	case c.anyLive() || c.roll.replacesAny():
		return nil
	case blocked:
		return c.blockedFault(until)
	case now.Before(c.retryAt):
		return c.lastFault()
	case c.demand == demandNone && c.serving().Spec.Start.When == app.StartManual:
		return app.Errorf(app.WrongState, app.ReasonAppManual, c.name,
			"%s is started by hand only (start.when: manual): roostctl start %s", c.name, c.name)
	}
	return nil
}

// demanded notes that a request wants the app to run.
func (c *controller) demanded() {
	if c.demand == demandNone {
		c.demand = demandRequest
	}
	if c.forfeited+c.withheld >= *c.serving().Spec.Instances {
		c.forfeited, c.withheld = 0, 0
	}
	for _, m := range c.members {
		if m.Phase == app.PhaseStarting && !m.order.urgent {
			m.order.urgent = true
			m.send()
		}
	}
}

// failWaiters answers everybody who waits with a fault of their own.
func (c *controller) failWaiters(fault func() *app.Fault) {
	for _, w := range c.waiters {
		w.reply <- activation{fault: fault()}
	}
	c.waiters = nil
}

func (c *controller) stoppedFault() *app.Fault {
	f := app.Errorf(app.WrongState, app.ReasonAppStopped, c.name, "%s is stopped: roostctl start %s", c.name, c.name)
	if c.stored.RapidFail != nil {
		f.Message = fmt.Sprintf("%s failed too often and was stopped: see its events, then roostctl start %s", c.name, c.name)
	}
	f.Revision = c.set.Revision
	return f
}

func (c *controller) blockedFault(until time.Time) *app.Fault {
	f := &app.Fault{
		Kind: app.Unavailable, Reason: app.ReasonRapidFail, App: c.name, RetryTime: until, Revision: c.set.Revision,
		Message: fmt.Sprintf("%s failed more than %d times within a minute and is blocked: see its events, then apply, start or recycle it",
			c.name, *c.serving().Spec.Restart.RapidFailsPerMinute),
	}
	if c.serving().Spec.Restart.OnRapidFail == app.RapidFailStop {
		f.RetryTime = time.Time{} // it does not end by itself
	}
	if c.fault != nil {
		f.Detail = c.fault.Detail
	}
	return f
}

func notFound(name string) *app.Fault {
	return app.Errorf(app.NotFound, app.ReasonAppNotFound, name, "there is no app %s: see roostctl ls", name)
}

func shuttingDown(name string) *app.Fault {
	return app.Errorf(app.Unavailable, app.ReasonShuttingDown, name, "the daemon is shutting down: try again when it is back")
}

// probeAgain is a proxy's report that an instance failed a request. Of many at
// once one is enough.
type probeAgain struct {
	id           app.InstanceID
	kind, detail string
}

// failureEvery is how often failed requests of one instance are told: one that
// listens and fails every request would fill the event log with nothing else.
const failureEvery = 10 * time.Second

func (e probeAgain) on(c *controller) {
	m := c.member(e.id)
	if m == nil || m.Phase != app.PhaseReady {
		return
	}
	m.failing.untold++
	if m.answered != m.order.check {
		return
	}
	m.check()
	if now := time.Now(); m.failing.told.IsZero() || now.Sub(m.failing.told) >= failureEvery {
		a := m.attributes()
		a["detail"], a["reports"] = e.detail, number(int64(m.failing.untold))
		c.cfg.Recorder.Record(app.Event{
			ID: app.EventEndpointFailure, App: c.name, Instance: m.ID, Severity: app.Warning,
			Message: "a request failed at the instance: " + e.kind, Attributes: a,
		})
		m.failing = failing{told: now}
	}
}

// failing is what proxies report of requests that an instance fails.
type failing struct {
	told   time.Time // when that was last an event
	untold int       // reports since then
}
