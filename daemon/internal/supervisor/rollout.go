package supervisor

import (
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// planRollout replaces instances one at a time: start a new one, wait until it
// has been ready for min_ready, drain an old one, wait until it is gone. Without
// overlap the old one goes first. An old one is kept until the new generation
// serves, and replaced if it dies before that.
func planRollout(d *decision, w wish, all []seen, now time.Time) {
	r := w.rollout
	fresh := filter(all, func(s seen) bool { return s.live() && s.rollout == r.id })
	old := filter(all, func(s seen) bool { return s.live() && s.rollout != r.id })
	d.stop(reasonSuperseded, filter(old, overtaken)...)
	old = filter(old, func(s seen) bool { return !overtaken(s) })

	fresh = stopSurplus(d, fresh, r.count)
	if r.committed {
		d.stop(reasonReplaced, old...)
		startFresh(d, r.count-len(fresh), w.notBefore, now)
		return
	}
	done := settled(fresh, r.minReady, now)
	d.wakeAt(nextSettled(fresh, r.minReady, now))
	if r.paused || done >= r.count {
		stopSurplus(d, old, max(1, w.count))
		return // the end is to be written down before the last old one goes
	}
	keep := keepOld(w, done)
	if over := len(old) - keep; over > 0 {
		reason := reasonReplaced
		if r.exclusive {
			reason = reasonMakesRoom
		}
		d.stop(reason, old[:over]...)
		return
	}
	room := max(w.count, r.count) - len(fresh) - count(all, seen.dying)
	if r.exclusive {
		room -= 1 + len(old)
	} else {
		// One may come beside what is wanted: first what must stay, then the next.
		startMissing(d, min(keep-len(old), max(w.count, r.count)+1-len(fresh)-len(old)), w.notBefore, now)
		room -= max(keep, len(old))
	}
	if done == len(fresh) && room >= 0 {
		d.start(1, true, reasonRollout)
	}
}

// overtaken tells whether an instance was started by another rollout and takes no
// requests yet.
func overtaken(s seen) bool {
	return s.rollout != "" && (s.phase == app.PhaseStarting || s.settling)
}

// keepOld is how many old instances must stay while done new ones have settled.
func keepOld(w wish, done int) int {
	if w.rollout.exclusive {
		return max(0, w.count-done-1)
	}
	return min(w.count, max(1, w.count-done))
}

func startFresh(d *decision, n int, notBefore, now time.Time) {
	switch {
	case n <= 0:
	case now.Before(notBefore):
		d.wakeAt(notBefore)
	default:
		d.start(n, true, reasonMissing)
	}
}

// settled counts the instances that have been ready for minReady.
func settled(list []seen, minReady time.Duration, now time.Time) int {
	return count(list, func(s seen) bool { return s.ready() && now.Sub(s.readySince) >= minReady })
}

// nextSettled is when the next instance will have been ready for minReady.
func nextSettled(list []seen, minReady time.Duration, now time.Time) time.Time {
	var next time.Time
	for _, s := range list {
		if at := s.readySince.Add(minReady); s.ready() && at.After(now) {
			next = earliest(next, at)
		}
	}
	return next
}

// rolloutKind is what a rollout does, and so when it is complete.
type rolloutKind int

const (
	rollReplace rolloutKind = iota + 1 // new instances take over from old ones
	rollRun                            // the wanted instances are ready
	rollRoutes                         // the proxies have the app's routes
	rollStop                           // no instance is left
	rollOffline                        // no instance is left, and the proxies have the page
	rollRecycle                        // no instance is due: a recycle of the daemon's own
)

// step is what a rollout needs next.
type step int

const (
	stepWait    step = iota
	stepCommit       // make the desired generation the serving one, durably
	stepConfirm      // ask whether every known proxy has the newest set
	stepDone
)

// progress is how far a rollout is.
type progress struct {
	kind      rolloutKind
	replacing *replacing // of rollReplace
	wanted    int        // instances, of rollRun
	confirmed bool       // every known proxy has the set
}

// nextStep says what a rollout needs next.
func nextStep(p progress, all []seen, now time.Time) step {
	switch p.kind {
	case rollReplace:
		return nextReplaceStep(p, all, now)
	case rollRun:
		alive := filter(all, seen.live)
		if len(alive) != p.wanted || count(alive, seen.ready) < p.wanted || count(all, seen.dying) > 0 {
			return stepWait
		}
	case rollRecycle:
		if count(all, seen.leaves) > 0 || count(all, func(s seen) bool { return s.ready() && !s.settling }) < len(all) {
			return stepWait
		}
	case rollOffline:
		if len(all) > 0 {
			return stepWait
		}
	case rollStop:
		if len(all) > 0 {
			return stepWait
		}
		return stepDone
	}
	return confirm(p)
}

func nextReplaceStep(p progress, all []seen, now time.Time) step {
	r := p.replacing
	fresh := filter(all, func(s seen) bool { return s.live() && s.rollout == r.id })
	switch {
	case r.paused:
		return stepWait
	case !r.committed && settled(fresh, r.minReady, now) >= r.count:
		return stepCommit
	case !r.committed || len(all) > len(fresh) || count(fresh, seen.ready) < r.count:
		return stepWait
	}
	return confirm(p)
}

func confirm(p progress) step {
	if p.confirmed {
		return stepDone
	}
	return stepConfirm
}
