package backend

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is one app: its endpoints, their connections and open exchanges.
type Pool struct {
	name   string
	notify func(app string)
	state  atomic.Pointer[state]
	queued atomic.Int64

	mu       sync.Mutex // guards what follows
	current  []*endpoint
	dropped  []*endpoint // not in the set any more, with open exchanges
	changed  chan struct{}
	removed  bool
	service  context.Context // ends when the app goes offline; then there is another
	leave    context.CancelFunc
	requests uint64
	turn     int // where the search for the least loaded starts
	tick     uint32
	sweeping *time.Timer
}

// state is the part of a set that is read without the lock.
type state struct {
	epoch, revision uint64
	policy          Policy
	offline         *Offline
}

func newPool(name string, notify func(string)) *Pool {
	p := &Pool{name: name, notify: notify, changed: make(chan struct{})}
	p.service, p.leave = context.WithCancel(context.Background())
	p.state.Store(&state{})
	return p
}

// Name is the app's name.
func (p *Pool) Name() string { return p.name }

// Policy is what the app's current set says about requests.
func (p *Pool) Policy() Policy { return p.state.Load().policy }

// Offline is the page that every request gets; nil while the app is in service.
func (p *Pool) Offline() *Offline { return p.state.Load().offline }

// Epoch is that of the current set.
func (p *Pool) Epoch() uint64 { return p.state.Load().epoch }

// Revision is that of the current set.
func (p *Pool) Revision() uint64 { return p.state.Load().revision }

// AddQueued changes the number of requests that wait for an instance and
// returns it.
func (p *Pool) AddQueued(n int) int { return int(p.queued.Add(int64(n))) }

// Changed returns a channel that is closed when the next set is applied or
// the app is removed; it is closed already once the app is removed. Take it
// before looking at the pool.
func (p *Pool) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Removed reports whether the app is gone.
func (p *Pool) Removed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.removed
}

// Load returns what the pool has to do.
func (p *Pool) Load() Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state.Load()
	l := Load{App: p.name, Epoch: s.epoch, Revision: s.revision,
		Queued: int(p.queued.Load()), Requests: p.requests,
		Instances: make([]InstanceLoad, 0, len(p.current)+len(p.dropped))}
	for _, list := range [][]*endpoint{p.current, p.dropped} {
		for _, e := range list {
			l.InFlight += e.inFlight
			l.Instances = append(l.Instances, InstanceLoad{ID: e.Instance, InFlight: e.inFlight, Requests: e.requests})
		}
	}
	return l
}

// Acquire claims the endpoint with the fewest open exchanges, none of the
// instances in avoid. It reports false when there is none. The claim must be
// released.
func (p *Pool) Acquire(avoid []string) (Lease, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.pick(avoid)
	if e == nil {
		return Lease{}, false
	}
	l := p.lease(e)
	l.idle = e.pop()
	return l, true
}

// lease counts a claim on e. The caller holds mu.
func (p *Pool) lease(e *endpoint) Lease {
	e.inFlight++
	e.requests++
	p.requests++
	return Lease{pool: p, endpoint: e}
}

func (p *Pool) pick(avoid []string) *endpoint {
	var best *endpoint
	n := len(p.current)
	for i := range n {
		e := p.current[(p.turn+i)%n]
		if e.Draining || best != nil && e.inFlight >= best.inFlight || slices.Contains(avoid, e.Instance) {
			continue
		}
		best = e
	}
	p.turn++
	return best
}

// applyNewer applies a set of the pool's epoch with a higher revision, or the
// first one.
func (p *Pool) applyNewer(set *Set) bool {
	return p.replace(set, func(s *state) bool {
		return s.revision == 0 && s.epoch == 0 || set.Epoch == s.epoch && set.Revision > s.revision
	})
}

func (p *Pool) apply(set *Set) {
	p.replace(set, func(*state) bool { return true })
}

func (p *Pool) replace(set *Set, accept func(*state) bool) bool {
	p.mu.Lock()
	if p.removed || !accept(p.state.Load()) {
		p.mu.Unlock()
		return false
	}
	was := p.state.Load().offline
	p.state.Store(&state{epoch: set.Epoch, revision: set.Revision, policy: set.Policy, offline: set.Offline})
	leaving := p.take(set.Endpoints)
	switch {
	case set.Offline != nil:
		leaving = append(leaving, p.leave) // more than once is once
	case was != nil:
		p.service, p.leave = context.WithCancel(context.Background())
	}
	changed := p.changed
	p.changed = make(chan struct{})
	p.mu.Unlock()

	close(changed)
	for _, l := range leaving {
		l()
	}
	p.notify(p.name)
	return true
}

// take makes eps the current endpoints. It returns what is to be done outside
// the lock for those that take no more requests.
func (p *Pool) take(eps []Endpoint) (leaving []func()) {
	old := p.current
	p.current = make([]*endpoint, 0, len(eps))
	for _, ep := range eps {
		i := slices.IndexFunc(old, func(e *endpoint) bool { return e.same(&ep) })
		if i < 0 {
			// One that was dropped and is back keeps its open exchanges.
			if j := slices.IndexFunc(p.dropped, func(e *endpoint) bool { return e.same(&ep) }); j >= 0 {
				old = append(old, p.dropped[j])
				p.dropped = slices.Delete(p.dropped, j, j+1)
				i = len(old) - 1
			}
		}
		e := newEndpoint(ep)
		if i >= 0 {
			e = old[i]
			old = slices.Delete(old, i, i+1)
			leaving = append(leaving, e.update(ep)...)
		}
		p.current = append(p.current, e)
	}
	for _, e := range old {
		if e.Draining && !p.removed {
			// Of an app that was removed nobody tells how long they may go on.
			leaving = append(leaving, e.end)
		}
		leaving = append(leaving, e.leave()...)
		if e.inFlight > 0 {
			p.dropped = append(p.dropped, e)
		}
	}
	return leaving
}

// remove has the pool take no more requests, and everybody who waits for it see
// that it is gone.
func (p *Pool) remove() {
	p.mu.Lock()
	if p.removed {
		p.mu.Unlock()
		return
	}
	p.removed = true
	leaving := p.take(nil)
	changed := p.changed
	p.mu.Unlock()

	close(changed)
	for _, l := range leaving {
		l()
	}
}

// empty reports whether nothing is open in a pool that was removed.
func (p *Pool) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dropped) == 0
}
