package supervisor

import (
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// takes tells whether the instance takes requests.
func (m *member) takes() bool { return m.Phase == app.PhaseReady && m.probation == 0 }

// admit ends the probation of new instances that have been ready for long enough,
// or that nobody else takes the requests of: one that dies within min_ready must
// not cost requests that an old one would have answered.
func (c *controller) admit(now time.Time) {
	others := slices.ContainsFunc(c.members, (*member).takes)
	for _, m := range c.members {
		if m.Phase == app.PhaseReady && (!others || m.readyFor(now) >= m.probation) {
			m.probation = 0
		}
	}
}

// nextAdmission is when the next instance is to be admitted; zero: none is.
func (c *controller) nextAdmission() time.Time {
	var next time.Time
	for _, m := range c.members {
		if m.Phase == app.PhaseReady && m.probation > 0 {
			next = earliest(next, m.readySince.Add(m.probation))
		}
	}
	return next
}

// probation is how long a new instance of the rollout has to be ready before it
// takes requests beside old ones.
func (c *controller) probation() time.Duration {
	r := c.replacing()
	if r.exclusive || r.committed {
		return 0
	}
	return r.minReady
}
