package supervisor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	firstRecycleDelay = time.Second // after a recycle of the daemon's own that failed; then it doubles
	maxRecycleDelay   = time.Minute
)

// cause is why the daemon replaces instances unasked.
type cause struct {
	trigger  string // the key of the manifest
	message  string // for people: the limit, and what was measured
	limit    string
	measured string
}

func (w cause) attributes() map[string]string {
	a := map[string]string{"trigger": w.trigger}
	if w.limit != "" {
		a["limit"] = w.limit
	}
	if w.measured != "" {
		a["measured"] = w.measured
	}
	return a
}

// recycleAll has every live instance replaced, one at a time, by one of the
// serving generation, in the folder that is pinned to. Where none lives, or none may
// any more, nothing happens. A rollout under way goes first: what it replaces anyway is not replaced
// twice, and what it has started already is replaced once more.
func (c *controller) recycleAll(why cause) {
	found := false
	for _, m := range c.members {
		if m.live() && !c.out() {
			found = true
			m.due = cmp.Or(m.due, why.message)
		}
	}
	if found {
		c.cfg.Recorder.Record(app.Event{
			ID: app.EventAppRecycled, App: c.name, Severity: app.Info,
			Message: "app is recycled: " + why.message, Attributes: why.attributes(),
		})
	}
}

// recycleOne has an instance replaced. One that already is to be stays so.
func (c *controller) recycleOne(m *member, severity app.Severity, why cause) {
	if !m.live() || m.due != "" {
		return
	}
	m.due = why.message
	a := m.attributes()
	maps.Copy(a, why.attributes())
	c.cfg.Recorder.Record(app.Event{
		ID: app.EventInstanceRecycled, App: c.name, Instance: m.ID, Severity: severity,
		Message: "instance is replaced: " + why.message, Attributes: a,
	})
}

// recycleDue begins to replace the instances that are due, once no other rollout
// is under way and the last attempt is long enough ago. It returns when to look
// again.
func (c *controller) recycleDue(now time.Time) time.Time {
	n := 0
	for _, m := range c.members {
		if m.live() && m.due != "" {
			n++
		}
	}
	switch {
	case n == 0:
		c.dropCondition(app.CondRecycleFailed)
	case c.roll != nil || !c.wanted():
	case now.Before(c.recycleAfter):
		return c.recycleAfter
	default:
		c.begin(&rollout{kind: rollRecycle, count: n})
	}
	return time.Time{}
}

// recycles tells whether the rollout is a recycle of the daemon's own.
func (r *rollout) recycles() bool { return r != nil && r.kind == rollRecycle }

// failsRecycle ends the recycle of the daemon's own that m belongs to, if it does,
// for m has failed. It tells whether that costs nothing: as many instances as are
// wanted live without it, so that is no failure of the app. Without overlap the old
// one is gone by then, and it is one.
func (c *controller) failsRecycle(m *member, message, output string, at time.Time) (spared bool) {
	if !c.roll.recycles() || m.Rollout != c.roll.id {
		return false
	}
	c.recycleStreak++
	delay := recycleDelay(c.recycleStreak)
	c.recycleAfter = at.Add(delay)
	if spared = c.spares(m); spared {
		message += fmt.Sprintf("; the old instance stays, and is tried to be replaced again in %v", delay)
		c.noteCondition(app.CondRecycleFailed, message, false)
	}
	c.failRollout(message, output)
	return spared
}

// spares tells whether as many instances as are wanted live without m.
func (c *controller) spares(m *member) bool {
	others := 0
	for _, o := range c.members {
		if o != m && o.live() {
			others++
		}
	}
	return others >= *c.serving().Spec.Instances-c.forfeited-c.withheld
}

func recycleDelay(streak int) time.Duration {
	d := firstRecycleDelay
	for range streak - 1 {
		d = min(2*d, maxRecycleDelay)
	}
	return d
}

// minReady is how long the replacement of a recycle of the daemon's own has to be
// ready before the old instance goes.
func (c *controller) minReady() time.Duration { return *c.serving().Spec.Recycle.MinReady }

// whyDue returns why some live instance is due.
func (c *controller) whyDue() string {
	i := slices.IndexFunc(c.members, func(m *member) bool { return m.live() && m.due != "" })
	if i < 0 {
		return "an instance had to be replaced"
	}
	return c.members[i].due
}
