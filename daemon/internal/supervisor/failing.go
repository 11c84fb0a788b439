package supervisor

import (
	"fmt"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// crashed accounts for the end of an instance that had been ready and was not
// asked to end. failed tells whether restart.when takes it for a failure.
func (c *controller) crashed(m *member, at time.Time, failed bool) {
	spec := c.serving().Spec
	ready := m.readyFor(at)
	m.readySince = time.Time{}
	brief := fmt.Sprintf("a new instance of %s was ready for %v only: %s", c.name, max(ready, m.wasReady).Round(time.Millisecond), m.Reason)
	if ready < c.minReady() && c.failsRecycle(m, brief, "", at) {
		return
	}
	c.failures.ended(ready)
	c.failures.add(at)
	c.notBefore = at.Add(restartDelay(c.failures.streak, spec.Restart))
	if r := c.roll; r.replaces(m) && !r.committed && !r.paused && ready < c.replacing().minReady {
		c.rollBack(m, brief, "")
		return
	}
	if !restartsUnasked(spec.Restart.When, failed) {
		c.forfeited++
	}
}

func (e startFailed) on(c *controller) {
	m := c.member(e.id)
	if !m.live() {
		return // it was told to stop meanwhile
	}
	m.Phase, m.Reason, m.OutputTail = app.PhaseStopping, e.err.Message, shortTail(e.tail)
	m.Exit = e.err.Exit
	c.recordFailedStart(m, e)
	if why := e.another(); why != "" && !m.second {
		if c.folder.Changing == "" { // else plan starts it, once they are quiet
			c.start(action{rollout: c.roll.replaces(m), reason: why}, true)
		}
		return
	}
	at := time.Now()
	if e.err.Exit != nil {
		at = onOurClock(e.err.Exit.Time, at)
	}
	message := fmt.Sprintf("%s did not start: %s", c.name, e.err.Message)
	if c.failsRecycle(m, message, e.tail, at) {
		return
	}
	c.failures.add(at)
	c.notBefore = at.Add(restartDelay(c.failures.streak, c.serving().Spec.Restart))
	switch r := c.roll; {
	case r.replaces(m) && !r.committed && !r.paused:
		c.rollBack(m, message, e.tail)
		if !r.bare {
			return // what waits, waits for the old generation
		}
	case r != nil && r.kind == rollRun:
		c.failRollout(message, e.tail)
	}
	c.failedStart(at, message, e)
}

// another is why another start may do at once, "" where it may not: it is no fault of
// the app's.
func (e startFailed) another() string {
	switch {
	case e.stranger:
		return "another port, for the last one was taken"
	case e.err.Lost:
		return "once more, for the keeper died during the last start"
	}
	return ""
}

// failedStart keeps what a failed start means for those who wait, and whether
// it is tried again.
func (c *controller) failedStart(at time.Time, message string, e startFailed) {
	spec := c.serving().Spec
	c.retryAt = at.Add(retryDelay(c.failures.streak, spec.Restart))
	c.fault = &app.Fault{
		Kind: app.Unavailable, Reason: app.ReasonStartFailed, App: c.name,
		Message: message, Detail: e.tail, RetryTime: c.retryAt, Revision: c.set.Revision, Err: e.err,
	}
	if e.err.Timeout {
		c.fault.Reason = app.ReasonStartTimeout
	}
	switch {
	case !restartsUnasked(spec.Restart.When, true):
		c.forfeited++
	case !c.established && spec.Start.When != app.StartOnBoot:
		c.withheld++
	}
	if !c.anyLive() { // else another one may still become ready
		c.failWaiters(c.lastFault)
	}
}

// lastFault is why the app did not start.
func (c *controller) lastFault() *app.Fault { return new(*c.fault) }

func (c *controller) anyLive() bool {
	for _, m := range c.members {
		if m.live() {
			return true
		}
	}
	return false
}

// endDemand ends the demand where nothing is left that the daemon may bring back
// unasked. Only a request, or an operator, starts the app then. It also tells that
// the app is blocked.
func (c *controller) endDemand(now time.Time) {
	until, blocked := c.blockedUntil(now)
	stops := c.serving().Spec.Restart.OnRapidFail == app.RapidFailStop
	switch {
	case !blocked || c.blocked || stops && c.out():
	case stops:
		c.giveUp(now)
	default:
		c.record(app.EventAppBlocked, app.Error, fmt.Sprintf(
			"blocked until %s: more than %d failures within a minute (restart.rapid_fails_per_minute); start, apply or recycle lift it",
			until.Format(time.RFC3339), *c.serving().Spec.Restart.RapidFailsPerMinute))
	}
	c.blocked = blocked
	if c.anyLive() || c.roll.replacesAny() {
		return
	}
	if blocked && !stops {
		c.failWaiters(func() *app.Fault { return c.blockedFault(until) })
	}
	spec := c.serving().Spec
	left := *spec.Instances - c.forfeited - c.withheld
	if left <= 0 || blocked && !stops && spec.Start.When == app.StartOnRequest {
		if r := c.roll; r != nil && r.kind == rollRun {
			c.failRollout(c.name+" does not run any more: its instances ended", "")
		}
		c.noDemand()
	}
}

// noDemand forgets why the app ran. Who still waits asks anew.
func (c *controller) noDemand() {
	c.demand, c.established = demandNone, false
	c.forfeited, c.withheld = 0, 0
	for _, w := range c.waiters {
		w.admitted = false
	}
}

// forgive clears the crash budget and the waiting time of a failed start, and
// lets the proxies know by a new revision.
func (c *controller) forgive() {
	c.trouble = trouble{}
	c.dropCondition(app.CondHealthFailing)
	c.publishAnew()
}
