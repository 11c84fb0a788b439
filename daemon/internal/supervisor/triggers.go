package supervisor

import (
	"fmt"
	"strings"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// lookForTriggers marks what recycle.max_age and recycle.at make due, and returns
// when to look again.
func (c *controller) lookForTriggers(now time.Time) time.Time {
	if !c.wanted() {
		return time.Time{}
	}
	return earliest(c.lookForAge(now), c.lookForTime(now))
}

// lookForAge goes by the monotonic clock.
func (c *controller) lookForAge(now time.Time) time.Time {
	limit := c.serving().Spec.Recycle.MaxAge
	if limit <= 0 {
		return time.Time{}
	}
	var next time.Time
	for _, m := range c.members {
		end := m.started.Add(limit)
		switch {
		case !m.mayRecycle():
		case end.After(now):
			next = earliest(next, end)
		default:
			age := now.Sub(m.started).Round(time.Second)
			c.recycleOne(m, app.Info, cause{
				trigger: "recycle.max_age", limit: limit.String(), measured: age.String(),
				message: fmt.Sprintf("it is %v old (recycle.max_age: %v)", age, limit),
			})
		}
	}
	return next
}

// lookForTime goes by the wall clock. A time before the generation came says
// nothing: the app may not have had it then.
func (c *controller) lookForTime(now time.Time) time.Time {
	at := c.serving().Spec.Recycle.At
	if len(at) == 0 {
		return time.Time{}
	}
	wall := now.Local().Round(0)
	last := lastAt(at, wall)
	up, due := false, false
	for _, m := range c.members {
		if !m.mayRecycle() {
			continue
		}
		up = true
		due = due || m.ReadyTime.Round(0).Before(last)
	}
	if due && c.serving().Time.Before(last) {
		c.recycleAll(cause{
			trigger: "recycle.at", limit: strings.Join(at, " "), measured: last.Format(time.RFC3339),
			message: fmt.Sprintf("it is past %s (recycle.at)", last.Format("15:04")),
		})
	}
	if !up {
		return time.Time{}
	}
	return now.Add(min(nextAt(at, wall).Sub(wall), clockCheck))
}

// mayRecycle tells whether the instance is up and is not to be replaced already.
func (m *member) mayRecycle() bool {
	return m.due == "" && (m.Phase == app.PhaseReady || m.Phase == app.PhaseUnready)
}
