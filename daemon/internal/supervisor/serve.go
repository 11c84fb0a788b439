package supervisor

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	recheckFirst = 50 * time.Millisecond // after a check that failed
	recheckMax   = time.Second
	checkLimit   = 10 * time.Second // of one check, whatever the probe's own timeout
)

// vigil is how a process that was ready is watched. It belongs to the instance's
// goroutine.
type vigil struct {
	process app.Process
	address string
	ready   bool
	since   time.Time        // it is ready, or unready, since
	pause   time.Duration    // before the next check of an unready one; it grows while one flaps
	again   <-chan time.Time // when to do it
	answers chan error       // of the check under way; nil: there is none
	cancel  context.CancelFunc
	asked   int // the order that the check under way answers
}

// serve stays with a process that was ready until it ends or is told to. It probes
// again when it is asked to, and while the process is unready: for as long as a
// start may take, then it gives the process up.
func (i *instance) serve(ctx context.Context, p app.Process, address string, ready bool) {
	v := &vigil{process: p, address: address, ready: ready, since: time.Now()}
	if !ready {
		v.again = time.After(0)
	}
	defer v.end()
	for i.order.stop == nil {
		if v.answers == nil && i.order.check > i.checked {
			i.check(ctx, v)
		}
		select {
		case <-p.Exited():
			i.tell(exited{id: i.launch.ID, exit: p.Exit()})
			return
		case i.order = <-i.orders:
		case <-v.again:
			i.check(ctx, v)
		case err := <-v.answers:
			v.cancel()
			v.answers = nil
			if !closed(p.Exited()) && !i.judge(v, err) { // an exit says more than a probe
				i.await(ctx, p, nil, 0) // its controller orders the stop
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// check begins to ask whether the process is ready.
func (i *instance) check(ctx context.Context, v *vigil) {
	ctx, v.cancel = context.WithTimeout(ctx, checkLimit)
	answers := make(chan error, 1)
	v.answers, v.asked, v.again = answers, i.order.check, nil
	go func() { answers <- i.cfg.Prober.Check(ctx, v.process, i.launch, v.address) }()
}

// end ends the check under way, if there is one, and waits for its goroutine.
func (v *vigil) end() {
	if v.answers != nil {
		v.cancel()
		<-v.answers //nolint:errcheck // of a check that was given up
	}
}

// later makes the pause before the next check longer, and begins it.
func (v *vigil) later() <-chan time.Time {
	v.pause = min(max(2*v.pause, recheckFirst), recheckMax)
	return time.After(v.pause)
}

// judge tells the controller what a check has found. It is false where the process
// has been unready for too long.
func (i *instance) judge(v *vigil, err error) bool {
	i.checked = v.asked
	id := i.launch.ID
	switch {
	case err == nil && v.ready:
		i.tell(checked{id: id, check: v.asked})
	case err == nil:
		v.ready, v.since = true, time.Now()
		i.tell(becameReady{id: id, address: v.address, check: v.asked})
	case v.ready:
		if time.Since(v.since) >= stableAfter {
			v.pause = 0
		}
		v.ready, v.since = false, time.Now()
		v.again = v.later()
		i.tell(becameUnready{id: id, check: v.asked, err: err})
	case time.Since(v.since) >= *i.launch.Spec.Start.Timeout:
		i.tell(gaveUp{id: id, check: v.asked, err: err})
		return false
	default:
		v.again = v.later()
		i.tell(checked{id: id, check: v.asked})
	}
	return true
}
