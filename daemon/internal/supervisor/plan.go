package supervisor

import (
	"cmp"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// wish is what an app should have.
type wish struct {
	run       bool      // whether it should run at all
	count     int       // instances, while it runs
	exclusive bool      // no new instance beside the one it replaces (recycle.overlap: false)
	notBefore time.Time // starts that follow a failure wait until then
	hold      bool      // start nothing now, and let nothing make room for a start
	rollout   *replacing
	recycle   bool          // instances that are due are replaced
	minReady  time.Duration // of recycle
}

// replacing is a rollout that replaces instances, as plan needs it.
type replacing struct {
	id        string
	count     int // new instances
	exclusive bool
	minReady  time.Duration
	committed bool // the desired generation serves; there is no way back
	paused    bool // its end is being written down: start and stop nothing for it
}

// seen is an instance as plan sees it.
type seen struct {
	id         app.InstanceID
	phase      app.Phase
	rollout    string    // that started it
	current    bool      // runs what the serving generation says
	readySince time.Time // in phase Ready
	settling   bool      // it takes no requests yet, for others do
	due        bool      // it is to be replaced
}

// live tells whether the instance is there to stay.
func (s seen) live() bool { return s.phase < app.PhaseDraining }

// dying tells whether the instance is on its way out, but still there.
func (s seen) dying() bool { return s.phase >= app.PhaseDraining && s.phase < app.PhaseExited }

// leaves tells whether the instance is to go, or on its way out.
func (s seen) leaves() bool { return s.due || !s.live() }

func (s seen) ready() bool { return s.phase == app.PhaseReady }

// action is one thing to do: start an instance, where id is empty, or drain and
// stop one.
type action struct {
	id      app.InstanceID
	rollout bool // start: one of the rollout's, from the desired generation
	reason  string
}

// decision is what to do now, and when to look again if nothing happens (zero:
// never).
type decision struct {
	actions []action
	wake    time.Time
}

func (d *decision) start(n int, rollout bool, reason string) {
	for range n {
		d.actions = append(d.actions, action{rollout: rollout, reason: reason})
	}
}

func (d *decision) stop(reason string, list ...seen) {
	for _, s := range list {
		d.actions = append(d.actions, action{id: s.id, reason: reason})
	}
}

// wakeAt makes the decision be looked at again at t.
func (d *decision) wakeAt(t time.Time) { d.wake = earliest(d.wake, t) }

// earliest returns the earlier of two times; zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// plan says what brings an app nearer to what it should be. It is asked after
// each event, and gives every action once: whoever carries them out shows their
// effect in the next all. all is oldest first.
func plan(w wish, all []seen, now time.Time) decision {
	var d decision
	alive := filter(all, seen.live)
	switch {
	case !w.run:
		d.stop(reasonNotWanted, alive...)
	case w.rollout != nil:
		planRollout(&d, w, all, now)
	default:
		planSteady(&d, w, all, now)
	}
	if w.hold { // its end is an event
		d.actions = slices.DeleteFunc(d.actions, func(a action) bool { return a.id == "" || a.reason == reasonMakesRoom })
	}
	return d
}

// The reasons that plan gives.
const (
	reasonNotWanted  = "" // the controller knows why
	reasonSurplus    = "more instances than wanted"
	reasonMissing    = "fewer instances than wanted"
	reasonReplaced   = "replaced by a new instance"
	reasonMakesRoom  = "makes room for a new instance (recycle.overlap: false)"
	reasonOutdated   = "runs a generation that does not serve"
	reasonRollout    = "rollout"
	reasonSuperseded = "superseded before it was ready"
)

// planSteady keeps count instances of the serving generation. Leftovers of a
// rollout that was rolled back or overtaken, and what is due for a recycle of the
// daemon's own, are replaced one at a time, without ever having fewer ready than
// before.
func planSteady(d *decision, w wish, all []seen, now time.Time) {
	stays := func(s seen) bool { return s.current && !(w.recycle && s.due) }
	current := filter(all, func(s seen) bool { return s.live() && stays(s) })
	outdated := filter(all, func(s seen) bool { return s.live() && !stays(s) })
	unready := filter(outdated, func(s seen) bool { return s.phase == app.PhaseStarting })
	outdated = filter(outdated, func(s seen) bool { return s.phase != app.PhaseStarting })
	d.stop(reasonSuperseded, unready...)

	current = stopSurplus(d, current, w.count)
	missing := w.count - len(current)
	if len(outdated) > 0 {
		d.wakeAt(nextSettled(current, w.minReady, now))
	}
	present := len(current) + len(outdated) + len(unready) + count(all, seen.dying)
	switch {
	case len(outdated) == 0 && w.exclusive:
		missing = min(missing, w.count-present)
	case len(outdated) == 0:
	case w.exclusive:
		// One goes for each that is to come, and what there is no room for.
		if over := len(current) + len(outdated) - w.count; over > 0 {
			d.stop(reasonOutdated, outdated[:min(over, len(outdated))]...)
			return
		}
		if present >= w.count {
			if count(all, seen.dying) == 0 && settled(current, w.minReady, now) == len(current) {
				d.stop(reasonMakesRoom, outdated[0])
			}
			return
		}
		missing = min(missing, 1)
	default:
		// Each ready current one lets an outdated one go.
		if over := settled(current, w.minReady, now) + len(outdated) - w.count; over > 0 {
			d.stop(reasonOutdated, outdated[:min(over, len(outdated))]...)
			return
		}
		if present > w.count || count(current, seen.ready) < len(current) {
			missing = 0
		}
		missing = min(missing, 1)
	}
	startMissing(d, missing, w.notBefore, now)
}

func startMissing(d *decision, n int, notBefore, now time.Time) {
	switch {
	case n <= 0:
	case now.Before(notBefore):
		d.wakeAt(notBefore)
	default:
		d.start(n, false, reasonMissing)
	}
}

// stopSurplus stops what there is beyond n, and returns the others.
func stopSurplus(d *decision, list []seen, n int) []seen {
	surplus := len(list) - n
	if surplus <= 0 {
		return list
	}
	list = leastUseful(list)
	d.stop(reasonSurplus, list[:surplus]...)
	return list[surplus:]
}

// leastUseful orders instances by how little is lost with them: those not ready
// first, and of those the newest, so that a scaled app keeps its survivors.
func leastUseful(list []seen) []seen {
	list = slices.Clone(list)
	slices.Reverse(list)
	slices.SortStableFunc(list, func(a, b seen) int { return cmp.Compare(usefulness(a), usefulness(b)) })
	return list
}

func usefulness(s seen) int {
	if s.ready() {
		return 1
	}
	return 0
}

func filter(list []seen, keep func(seen) bool) []seen {
	var kept []seen
	for _, s := range list {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

func count(list []seen, is func(seen) bool) int {
	n := 0
	for _, s := range list {
		if is(s) {
			n++
		}
	}
	return n
}
