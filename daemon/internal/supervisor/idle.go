package supervisor

import (
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// lookForIdleness ends the demand of an app that nobody has asked for during
// idle.after. Its instances drain like those of every planned stop, so a request
// that comes meanwhile just starts new ones.
func (c *controller) lookForIdleness(now time.Time) {
	after := c.serving().Spec.Idle.After
	if after <= 0 || !c.wanted() || c.roll != nil || len(c.waiters) > 0 || !c.anyReady() {
		c.idleAt = time.Time{}
		return
	}
	if now.Before(c.idleAt) {
		return
	}
	since, idle := c.cfg.Publisher.IdleSince(c.name)
	var stop bool
	if stop, c.idleAt = idleStep(since, idle, c.usedAt(), after, now); stop {
		c.record(app.EventAppIdle, app.Info, "stopped: no request for idle.after ("+after.String()+")")
		c.noDemand()
	}
}

// usedAt is the newest moment of use that the daemon itself knows of.
func (c *controller) usedAt() time.Time {
	used := c.lastAsked
	for _, m := range c.members {
		if m.readySince.After(used) {
			used = m.readySince
		}
	}
	return used
}

// idleStep tells whether an app is idle enough to be stopped, else when to ask
// again: since is when its last request ended, where none is open; used is when
// it was started or asked for.
func idleStep(since time.Time, idle bool, used time.Time, after time.Duration, now time.Time) (stop bool, next time.Time) {
	if !idle {
		return false, now.Add(after)
	}
	if used.After(since) {
		since = used
	}
	if end := since.Add(after); end.After(now) {
		return false, end
	}
	return true, time.Time{}
}
