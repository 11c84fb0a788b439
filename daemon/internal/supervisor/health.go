package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	firstHealthDelay = 10 * time.Second // from one round of replacements for health to the next; then it doubles
	maxHealthDelay   = 5 * time.Minute
	// wellAfter is the age from which an instance falls sick by itself, and not because
	// whatever it replaced was sick too.
	wellAfter = 2 * maxHealthDelay
)

// checkup is how the health checks of an instance go.
type checkup struct {
	asking bool
	next   time.Time
	failed int // in a row
}

// sickness is how often in a row new instances had to be replaced for their health
// as well: then it is not they that are sick, but what all of them ask or are asked.
type sickness struct {
	rounds int       // what fell sick together is replaced in one
	began  time.Time // the last one
	next   time.Time // when another one may begin
}

// replaces tells whether a sick instance that was started at a time is to be replaced
// now.
func (s *sickness) replaces(started, now time.Time) bool {
	switch {
	case started.Before(s.began):
		return true // in the same round
	case now.Sub(started) >= wellAfter:
		*s = sickness{}
	case now.Before(s.next):
		return false
	}
	s.rounds, s.began = s.rounds+1, now
	s.next = now.Add(min(firstHealthDelay<<min(s.rounds-1, 10), maxHealthDelay))
	return true
}

// lookAfterHealth asks instances that are up whether they are well, where health is
// given, and returns when to ask again. One question at a time is open for each. One
// that is unready is asked as well: its own probe gives it up after start.timeout
// only. One that goes, or is to be replaced, is not.
func (c *controller) lookAfterHealth(now time.Time) time.Time {
	h := c.serving().Spec.Health
	if h == nil || !c.wanted() {
		c.sickness = sickness{}
		c.dropCondition(app.CondHealthFailing)
	}
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
		if m.started.After(c.sickness.began) {
			c.dropCondition(app.CondHealthFailing)
		}
		return
	}
	m.health.failed++
	c.log.Debug("health check failed", "instance", string(m.ID), "in a row", m.health.failed, "error", e.err)
	if m.health.failed < *h.Failures {
		return
	}
	replace := c.sickness.replaces(m.started, time.Now())
	if !replace || c.sickness.rounds > 1 {
		c.noteCondition(app.CondHealthFailing, fmt.Sprintf(
			"new instances fail their health checks too, and are not replaced before %s: see whether it is the check that is wrong (health): %v",
			c.sickness.next.Format(time.RFC3339), e.err), false)
	}
	if !replace {
		return // it serves, and is asked again
	}
	c.recycleOne(m, app.Warning, cause{
		trigger: "health", limit: number(int64(*h.Failures)), measured: number(int64(m.health.failed)),
		message: fmt.Sprintf("health checks failed, %d in a row (health.failures): %v", m.health.failed, e.err),
	})
}
