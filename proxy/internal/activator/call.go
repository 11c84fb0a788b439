package activator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
)

const (
	// firstPause and maxPause bound the time between two attempts to reach a
	// daemon that is there but gives no answer.
	firstPause = 50 * time.Millisecond
	maxPause   = 500 * time.Millisecond
	// settled is how long a repeated question must be open before the daemon
	// counts as reached again: one that fails at once each time is not.
	settled = time.Second
)

// call is one question to the daemon, repeated until it is answered. All
// requests of an app that wait at the same time share it.
type call struct {
	pool            *backend.Pool
	failed          []string // instances that it names
	epoch, revision uint64   // of the set that was there when it was first asked
	cancel          context.CancelFunc

	asking bool // the daemon has the question, or may have; under Activator.mu

	done    chan struct{}
	failure *Failure // valid once done is closed; nil: the daemon gave a set

	mu     sync.Mutex
	down   bool          // the daemon cannot be reached
	turned chan struct{} // closed when down changes
}

// run asks until there is an answer, or nobody waits for it.
func (c *call) run(ctx context.Context, a *Activator) {
	pause := firstPause
	for c.reach(ctx, a) {
		err := c.ask(ctx, a.starter)
		failure, refused := errors.AsType[*Failure](err)
		if err == nil || refused {
			a.finish(c, failure)
			return
		}
		c.turn(true)
		if !a.release(c) {
			return
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// reach waits for the daemon and reports whether it is to be asked.
func (c *call) reach(ctx context.Context, a *Activator) bool {
	synced := a.starter.Synced()
	select {
	case <-synced:
	default:
		c.turn(true)
		select {
		case <-synced:
		case <-ctx.Done():
			return false
		}
		c.turn(false)
	}
	return a.claim(c)
}

// ask asks the daemon once.
func (c *call) ask(ctx context.Context, s Starter) error {
	up := time.AfterFunc(settled, func() { c.turn(false) })
	defer up.Stop()
	// Not the set that it was begun with: asked again, it is about the newest.
	return s.Activate(ctx, c.pool.Name(), c.pool.Epoch(), c.pool.Revision(), c.failed)
}

// claim marks c as being asked. It reports false where nobody waits for c any more.
func (a *Activator) claim(c *call) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.apps[c.pool]; e == nil || e.call != c {
		return false
	}
	c.asking = true
	return true
}

// release takes claim back. It reports false where nobody waits for c any more.
func (a *Activator) release(c *call) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.asking = false
	e := a.apps[c.pool]
	if e.waiting == 0 {
		e.call = nil
		return false
	}
	return true
}

// finish gives everybody the answer. A refusal is kept for those who come later.
func (a *Activator) finish(c *call, failure *Failure) {
	if failure != nil { // where the daemon did not say
		failure.Epoch = cmp.Or(failure.Epoch, c.epoch)
		failure.Revision = cmp.Or(failure.Revision, c.revision)
	}
	a.mu.Lock()
	e := a.apps[c.pool]
	e.call, e.refused = nil, failure
	a.mu.Unlock()
	c.failure = failure
	close(c.done)
}

// names reports whether the daemon was told of all these instances, so that an
// endpoint it gives out all the same has been probed again.
func (c *call) names(failed []string) bool {
	for _, id := range failed {
		if !slices.Contains(c.failed, id) {
			return false
		}
	}
	return true
}

// turn says whether the daemon is out of reach.
func (c *call) turn(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != down {
		c.down = down
		close(c.turned)
		c.turned = make(chan struct{})
	}
}

// reached returns whether the daemon is out of reach, and a channel that closes
// when that changes.
func (c *call) reached() (down bool, turned <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down, c.turned
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
