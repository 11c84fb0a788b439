package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// checkup is how the health checks of an instance go.
type checkup struct {
	asking bool
	next   time.Time
	failed int // in a row
}

// lookAfterHealth asks instances that are up whether they are well, where health is
// given, and returns when to ask again. One question at a time is open for each. One
// that is unready is asked as well: its own probe gives it up after start.timeout
// only. One that goes, or is to be replaced, is not.
func (c *controller) lookAfterHealth(now time.Time) time.Time {
	h := c.serving().Spec.Health
	var next time.Time
	for _, m := range c.members {
		switch {
		case m.health.asking:
		case h == nil || !m.mayRecycle():
			m.health = checkup{}
		case m.health.next.IsZero():
			m.health.next = now.Add(*h.Probe.Interval)
			next = earliest(next, m.health.next)
		case now.Before(m.health.next):
			next = earliest(next, m.health.next)
		default:
			m.health.asking, m.health.next = true, now.Add(*h.Probe.Interval)
			c.askHealth(m, *h)
		}
	}
	return next
}

// askHealth asks an instance once.
func (c *controller) askHealth(m *member, h app.Health) {
	id, process, launch, address := m.ID, m.process, m.launch, m.Address
	launch.Spec.Ready = h.Probe
	c.errand(func(ctx context.Context) event {
		ctx, cancel := context.WithTimeout(ctx, *h.Probe.Timeout)
		defer cancel()
		return healthAsked{id, c.cfg.Prober.Check(ctx, process, launch, address)}
	})
}

// healthAsked is what a health check has found.
type healthAsked struct {
	id  app.InstanceID
	err error
}

func (e healthAsked) on(c *controller) {
	m := c.member(e.id)
	if m == nil {
		return
	}
	m.health.asking = false
	h := c.serving().Spec.Health
	switch {
	case h == nil || !m.mayRecycle():
		return
	case e.err == nil:
		m.health.failed = 0
		return
	}
	m.health.failed++
	c.log.Debug("health check failed", "instance", string(m.ID), "in a row", m.health.failed, "error", e.err)
	if m.health.failed < *h.Failures {
		return
	}
	c.recycleOne(m, app.Warning, cause{
		trigger: "health", limit: number(int64(*h.Failures)), measured: number(int64(m.health.failed)),
		message: fmt.Sprintf("health checks failed, %d in a row (health.failures): %v", m.health.failed, e.err),
	})
}
