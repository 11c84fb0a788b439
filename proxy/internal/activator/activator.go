// Package activator holds the requests of an app that has no ready endpoint
// while the daemon starts it: however many wait, the daemon is asked once.
//
// It knows neither routes nor gRPC: what it waits for is a backend.Pool, and
// whom it asks is a Starter.
package activator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
)

// Starter is the daemon, as far as a start is concerned. discovery implements it.
type Starter interface {
	// Synced is closed while the daemon can be asked: it is connected, and its
	// first complete snapshot is applied. After a loss Synced returns another
	// channel.
	Synced() <-chan struct{}
	// Activate has an app started and returns when the set of the daemon's answer
	// went to the registry, whether that had it already or not. epoch and revision
	// are of the set that the caller saw, failed the instances that refused or
	// broke a connection. A *Failure is the daemon's refusal; any other error
	// means that the daemon did not answer, or not as the one we are synced with,
	// and that the question is still open.
	Activate(ctx context.Context, app string, epoch, revision uint64, failed []string) error
}

// Activator makes requests wait. Its zero value is of no use; see New.
type Activator struct {
	starter Starter
	// ctx is what calls live in: a request that leaves, or all of them, must not
	// take the start along that others will want.
	ctx    context.Context
	cancel context.CancelFunc
	calls  sync.WaitGroup

	mu      sync.Mutex
	stopped bool // no call may be added to calls
	apps    map[*backend.Pool]*entry
}

// entry is what one app's requests share.
type entry struct {
	waiting int
	call    *call    // nil: none under way
	refused *Failure // the daemon's last word, as long as it holds
}

// New returns an Activator that asks s. Run must be called for its calls to end.
func New(s Starter) *Activator {
	ctx, cancel := context.WithCancel(context.Background())
	return &Activator{starter: s, ctx: ctx, cancel: cancel, apps: map[*backend.Pool]*entry{}}
}

// Run waits for the end of ctx. Then it sends everybody away who still waits,
// ends the calls to the daemon, and returns when there is none left.
func (a *Activator) Run(ctx context.Context) error {
	<-ctx.Done()
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.cancel()
	a.calls.Wait()
	return nil
}

// Wait waits until p has an endpoint that is worth a try, and has the daemon
// asked for one if that was not done already. failed names the instances that
// the request has tried in vain. A nil error means: acquire again. Otherwise it
// is a *Failure, or ctx's error when the client left.
func (a *Activator) Wait(ctx context.Context, p *backend.Pool, failed []string) error {
	policy := p.Policy()
	if !a.enter(p, policy.Queue) {
		return queueFull()
	}
	defer a.leave(p)
	w := &waiter{activator: a, pool: p, failed: failed}
	return w.wait(ctx, policy.QueueTimeout)
}

// enter counts a request in, unless limit others wait already.
func (a *Activator) enter(p *backend.Pool, limit int) bool {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.apps[p]
	if e == nil {
		a.forget(now)
		e = &entry{}
		a.apps[p] = e
	}
	if e.waiting >= limit {
		return false
	}
	e.waiting++
	p.AddQueued(1) // for the load that is reported
	return true
}

// leave counts a request out. The last one takes a call along that has not
// reached the daemon: nobody would want the app by the time it does. One that
// has reached it goes on.
func (a *Activator) leave(p *backend.Pool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.apps[p]
	e.waiting--
	p.AddQueued(-1)
	if e.waiting == 0 && e.call != nil && !e.call.asking {
		e.call.cancel()
		e.call = nil
	}
}

// forget drops the entries that say nothing any more. The caller holds mu.
func (a *Activator) forget(now time.Time) {
	maps.DeleteFunc(a.apps, func(p *backend.Pool, e *entry) bool {
		known := e.refused != nil && !p.Removed() && e.refused.holds(p.Epoch(), p.Revision(), now)
		return e.waiting == 0 && e.call == nil && !known
	})
}

// join returns the call under way for p, or a new one that names failed; or the
// refusal that still holds.
func (a *Activator) join(p *backend.Pool, failed []string) (*call, *Failure) {
	epoch, revision, now := p.Epoch(), p.Revision(), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.apps[p]
	switch {
	case a.stopped:
		return nil, shuttingDown()
	case e.call != nil:
		return e.call, nil
	case e.refused != nil && e.refused.holds(epoch, revision, now):
		return nil, e.refused
	}
	ctx, cancel := context.WithCancel(a.ctx)
	e.refused = nil
	e.call = &call{
		// A copy: the request may be over, and its memory another's, before the call is.
		pool: p, failed: slices.Clone(failed), epoch: epoch, revision: revision,
		cancel: cancel, done: make(chan struct{}), turned: make(chan struct{}),
	}
	c := e.call
	a.calls.Go(func() {
		defer cancel()
		c.run(ctx, a)
	})
	return c, nil
}
