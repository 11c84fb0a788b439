package supervisor

import (
	"fmt"
	"strings"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// lookForTriggers marks what the app's age, the time and its requests make due, and returns
// when to look again.
func (c *controller) lookForTriggers(now time.Time) time.Time {
	if !c.wanted() {
		return time.Time{}
	}
	var next time.Time
	for _, look := range []func(time.Time) time.Time{c.lookForAge, c.lookForTime, c.lookForRequests, c.lookForMemory} {
		next = earliest(next, look(now))
	}
	return next
}

// countAgain is how often requests are counted: a proxy tells about as often.
const countAgain = time.Second

// lookForRequests marks what recycle.max_requests makes due.
func (c *controller) lookForRequests(now time.Time) time.Time {
	limit := c.serving().Spec.Recycle.MaxRequests
	if limit <= 0 {
		return time.Time{}
	}
	again := false
	for _, m := range c.members {
		if !m.mayRecycle() {
			continue
		}
		n := c.cfg.Publisher.Requests(m.ID)
		if n < uint64(limit) {
			again = true
			continue
		}
		c.recycleOne(m, app.Info, cause{
			trigger: "recycle.max_requests", limit: number(limit), measured: number(int64(n)),
			message: fmt.Sprintf("it has got %d requests (recycle.max_requests: %d)", n, limit),
		})
	}
	if !again {
		return time.Time{}
	}
	return now.Add(countAgain)
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
		due = due || hasPassed(last, m.ReadyTime, wall, now.Sub(m.started))
	}
	if due && hasPassed(last, c.serving().Time, wall, now.Sub(time.Time{})) {
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
