package activator

import (
	"context"
	"errors"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
)

const (
	// unreachableAfter is how long a request waits for a daemon that is not there.
	unreachableAfter = 10 * time.Second
	// maxAsks is how often a request has the daemon asked. The second time is for
	// an instance that ended right after it had become ready.
	maxAsks = 2
	// sameMoment is how much later than a request's time is up the news of a
	// failed start may come and still be what the client is told: it says more.
	// The daemon's clock starts a little after the request's.
	sameMoment = 100 * time.Millisecond
	// pageTime is how much later than the daemon's word that an app is offline its
	// page may come: they take different ways.
	pageTime = time.Second
)

// waiter is one request's wait.
type waiter struct {
	activator *Activator
	pool      *backend.Pool
	failed    []string

	asked int   // calls that were answered
	call  *call // the one being waited for

	limit <-chan time.Time // the request's time is up
	lost  *time.Timer      // runs while the daemon is out of reach
}

// wait waits for timeout at most.
func (w *waiter) wait(ctx context.Context, timeout time.Duration) error {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	w.limit = limit.C
	w.lost = time.NewTimer(unreachableAfter)
	w.lost.Stop()
	defer w.lost.Stop()

	down := false
	for {
		changed := w.pool.Changed() // before looking, so that no change is missed
		if done, err := w.look(); done {
			return w.withPage(ctx, err)
		}
		nowDown, turned := w.call.reached()
		if nowDown != down {
			down = nowDown
			w.clock(down)
		}
		select {
		case <-w.call.done:
		case <-changed:
		case <-turned:
		case <-w.limit:
			return w.late(ctx)
		case <-w.lost.C:
			return unreachable()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.activator.ctx.Done():
			return shuttingDown()
		}
	}
}

// look takes an answer if there is one, and reports whether the wait is over. If
// it is not, w.call is a call under way.
func (w *waiter) look() (done bool, err error) {
	if w.pool.Removed() {
		return true, noRoute()
	}
	if w.pool.Offline() != nil { // whatever is left of its instances
		return true, offline()
	}
	if w.pool.Ready(w.failed) {
		return true, nil
	}
	if w.call != nil {
		select {
		case <-w.call.done:
			if done, err := w.answered(); done {
				return true, err
			}
		default:
			return false, nil
		}
	}
	c, failure := w.activator.join(w.pool, w.failed)
	if failure != nil {
		return true, failure
	}
	w.call = c
	return false, nil
}

// withPage returns the end of a wait, err, once the pool has the page of an app that
// is offline: that is what the request is to be answered with.
func (w *waiter) withPage(ctx context.Context, err error) error {
	if f, ok := errors.AsType[*Failure](err); !ok || f.Code != codeOffline {
		return err
	}
	limit := time.NewTimer(pageTime)
	defer limit.Stop()
	for {
		changed := w.pool.Changed()
		if w.pool.Offline() != nil || w.pool.Removed() {
			return err
		}
		select {
		case <-changed:
		case <-limit.C:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.activator.ctx.Done():
			return err
		}
	}
}

// answered handles the answer to w.call, which brought no endpoint but those that
// the request has tried. They are worth another try if the daemon was told and
// gives them out all the same, or if there is nothing else to do.
func (w *waiter) answered() (done bool, err error) {
	if w.call.failure != nil {
		return true, w.call.failure
	}
	w.asked++
	last := w.asked == maxAsks
	if (last || w.call.names(w.failed)) && w.pool.Ready(nil) {
		return true, nil
	}
	if last {
		return true, backendLost()
	}
	return false, nil
}

// late is the answer to a request whose time is up.
func (w *waiter) late(ctx context.Context) error {
	t := time.NewTimer(sameMoment)
	defer t.Stop()
	select {
	case <-w.call.done:
		if w.call.failure != nil {
			return w.call.failure
		}
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if w.pool.Ready(w.failed) {
		return nil
	}
	return queueTimeout()
}

// clock starts or stops the time that a request gives a daemon that is not there.
func (w *waiter) clock(down bool) {
	if down {
		w.lost.Reset(unreachableAfter)
	} else {
		w.lost.Stop()
	}
}
