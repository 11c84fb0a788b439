package supervisor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// keptRollouts is how many rollouts of an app can be watched, ended ones included.
const keptRollouts = 20

// rollout is what a write set in motion. An app has one at a time: the newest.
type rollout struct {
	id        string
	kind      rolloutKind
	target    int64 // the generation it moves to
	count     int   // new instances, where not the spec's
	verify    bool  // it only shows that the target starts
	bare      bool  // of rollReplace: nothing served when it began
	committed bool  // the target serves, durably
	paused    bool  // its end is being written down
	asking    bool  // whether the proxies have the set
	confirmed bool  // they have
	began     time.Time
	errands   context.Context // what is done for it beside the controller, until it ends
	end       context.CancelFunc
}

// replaces tells whether m is one of the rollout's new instances.
func (r *rollout) replaces(m *member) bool {
	return r.replacesAny() && m.Rollout == r.id
}

func (r *rollout) replacesAny() bool { return r != nil && r.kind == rollReplace }

// replacing is the rollout as plan needs it.
func (c *controller) replacing() *replacing {
	r, spec := c.roll, desiredOf(c.stored).Spec
	count := *spec.Instances
	if r.count > 0 {
		count = r.count
	}
	return &replacing{
		id: r.id, count: count, exclusive: !*spec.Recycle.Overlap, minReady: *spec.Recycle.MinReady,
		committed: r.committed, paused: r.paused,
	}
}

// begin makes r the app's rollout; the one before it is superseded.
func (c *controller) begin(r *rollout) {
	c.supersede("a newer write took over")
	r.target, r.began = c.stored.Desired, time.Now()
	if r.recycles() {
		r.target = c.stored.Serving
	}
	r.errands, r.end = context.WithCancel(c.ctx)
	if r.id == "" {
		r.id = newID()
	}
	c.roll = r
	c.keepRollout(r.id)
	c.showRollout(app.RolloutPending, "", "")
	c.recordRollout(app.EventRolloutStarted, app.Info, "rollout starts")
}

// supersede ends the rollout, if there is one, for another write.
func (c *controller) supersede(why string) {
	if c.roll == nil {
		return
	}
	c.recordRollout(app.EventRolloutSuperseded, app.Info, "rollout superseded: "+why)
	c.endRollout(app.RolloutSuperseded, why, "")
}

// endRollout shows the rollout's last phase and forgets it.
func (c *controller) endRollout(phase app.RolloutPhase, message, output string) {
	c.showRollout(phase, message, output)
	c.roll.end()
	c.roll = nil
}

// failRollout ends a rollout that replaces nothing: there is no way back.
func (c *controller) failRollout(message, output string) {
	c.recordRollout(app.EventRolloutFailed, app.Error, message)
	c.endRollout(app.RolloutFailed, message, output)
}

// rollBack ends a rollout for the failure of one of its instances. The old ones
// keep serving; that it failed is written down before it is told. output is what
// the instance wrote last, "" where nobody has looked yet.
func (c *controller) rollBack(m *member, message, output string) {
	c.roll.paused = true
	id := m.ID
	roll, failed := c.roll.id, app.FailedRollout{Generation: c.roll.target, Message: message, Time: time.Now()}
	c.errand(func(ctx context.Context) event {
		if output == "" {
			output = c.cfg.Recorder.OutputTail(c.name, id, startTail)
		}
		failed.Output = output
		stored, ok := c.commit(ctx, c.name, roll, func(a app.Stored) app.Stored { return failDesired(a, failed) })
		return committed{roll: roll, stored: stored, ok: ok, failed: &failed}
	})
}

// advance takes the rollout's next step, and tells whether that was its last.
func (c *controller) advance(now time.Time) (done bool) {
	r := c.roll
	if r == nil {
		return false
	}
	p := progress{kind: r.kind, confirmed: r.confirmed, wanted: *c.serving().Spec.Instances - c.forfeited}
	if r.replacesAny() {
		p.replacing = c.replacing()
	}
	switch nextStep(p, c.observe(), now) {
	case stepWait:
		r.confirmed = false // the set may change before the rest is done
		c.showRollout(app.RolloutProgressing, "", "")
	case stepCommit:
		r.paused = true
		roll := r.id
		c.errand(func(ctx context.Context) event {
			stored, ok := c.commit(ctx, c.name, roll, serveDesired)
			return committed{roll: roll, stored: stored, ok: ok}
		})
	case stepConfirm:
		c.confirm(r)
		c.showRollout(app.RolloutProgressing, "", "")
	case stepDone:
		c.completeRollout()
		return true
	}
	return false
}

// confirm asks whether every known proxy has the app's set.
func (c *controller) confirm(r *rollout) {
	if r.asking {
		return
	}
	r.asking = true
	roll, revision := r.id, c.set.Revision
	c.errand(func(context.Context) event {
		if err := c.cfg.Publisher.WaitApplied(r.errands, c.name, revision); err != nil {
			return nil // it was overtaken
		}
		return confirmed{roll: roll, revision: revision}
	})
}

func (c *controller) completeRollout() {
	message := "rollout complete"
	switch {
	case c.roll.kind == rollStop, c.roll.kind == rollOffline:
		message = "every instance is stopped"
	case c.roll.kind == rollRoutes:
		message = "every proxy has the routes"
	case c.roll.recycles():
		c.recycleStreak = 0
	}
	took := time.Since(c.roll.began).Round(time.Millisecond)
	c.recordRollout(app.EventRolloutComplete, app.Info, fmt.Sprintf("%s after %v", message, took))
	c.endRollout(app.RolloutComplete, message, "")
}

// committed says that the end of a rollout is written down, or, where ok is
// false, that a newer write has overtaken it.
type committed struct {
	roll   string
	stored versioned
	ok     bool
	failed *app.FailedRollout
}

func (e committed) on(c *controller) {
	if e.ok {
		c.adopt(e.stored)
	}
	r := c.roll
	if !e.ok || r == nil || r.id != e.roll {
		return
	}
	if e.failed == nil {
		r.committed, r.paused = true, false
		c.forfeited, c.withheld = 0, 0 // of the generation before
		return
	}
	message := e.failed.Message
	if c.serves() {
		message += "; generation " + number(c.stored.Serving) + " keeps serving"
	}
	c.recordRollout(app.EventRolloutFailed, app.Error, message)
	c.endRollout(app.RolloutFailed, e.failed.Message, e.failed.Output)
	if r.bare {
		c.noDemand()
		boot{}.on(c) // what starts by itself goes back to what served
	}
}

// confirmed says that every known proxy has a revision.
type confirmed struct {
	roll     string
	revision uint64
}

func (e confirmed) on(c *controller) {
	r := c.roll
	if r == nil || r.id != e.roll {
		return
	}
	r.asking = false
	r.confirmed = e.revision == c.set.Revision
}

// adopt makes a newer version of what is stored the controller's.
func (c *controller) adopt(v versioned) {
	if v.version > c.version || v.version == c.version && v.look > c.look {
		c.stored, c.version, c.folder, c.look = v.Stored, v.version, v.folder, v.look
	}
}

// keepRollout keeps the last rollouts to be watched.
func (c *controller) keepRollout(id string) {
	c.past = append(c.past, id)
	for len(c.past) > keptRollouts {
		c.rollouts.Delete(c.past[0])
		c.past = c.past[1:]
	}
}

// showRollout shows how far the rollout is.
func (c *controller) showRollout(phase app.RolloutPhase, message, output string) {
	r := c.roll
	shown := app.Rollout{
		ID: r.id, App: c.name, Generation: r.target, Phase: phase, Start: r.began,
		Message: message, Output: output,
	}
	if phase.Done() {
		shown.End = time.Now()
	}
	switch r.kind {
	case rollReplace:
		shown.Desired = c.replacing().count
	case rollRun:
		shown.Desired = *c.serving().Spec.Instances
	case rollRecycle:
		shown.Desired = r.count
	}
	for _, m := range c.members {
		switch {
		case !m.live() && m.Rollout == r.id: // a new one that failed makes way for nobody
		case !m.live():
			shown.Draining++
		case m.Phase == app.PhaseReady && (r.kind == rollRun || m.Rollout == r.id):
			shown.Updated++
		}
	}
	if r.recycles() { // more may have become due
		shown.Desired = max(shown.Desired, shown.Updated)
	}
	if old, ok := c.rollouts.Get(r.id); !ok || old != shown {
		c.rollouts.Set(r.id, shown)
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
