package backend

import (
	"context"
	"maps"
	"slices"
)

// endpoint is an Endpoint in use. The pool's lock guards it.
type endpoint struct {
	Endpoint
	inFlight int
	requests uint64
	idle     []*Conn // the one used last is at the end
	pinned   map[*Conn]struct{}
	// draining ends when the endpoint takes no more requests.
	draining context.Context
	drain    context.CancelFunc
	// over ends when the time for its open exchanges is up: it was draining, and
	// is told to end.
	over context.Context
	end  context.CancelFunc
}

func newEndpoint(ep Endpoint) *endpoint {
	e := &endpoint{Endpoint: ep}
	e.draining, e.drain = context.WithCancel(context.Background())
	e.over, e.end = context.WithCancel(context.Background())
	if ep.Draining {
		e.drain()
	}
	return e
}

func (e *endpoint) same(ep *Endpoint) bool {
	return e.Instance == ep.Instance && e.Network == ep.Network && e.Address == ep.Address
}

// update takes over what a newer set says. Leases read only what cannot
// change of an instance without the lock.
func (e *endpoint) update(ep Endpoint) (outside []func()) {
	switch {
	case ep.Draining:
		return e.leave()
	case e.Draining:
		e.Draining = false
		e.draining, e.drain = context.WithCancel(context.Background())
	}
	return nil
}

// leave has the endpoint take no more requests and gives up its idle
// connections, pinned ones among them.
func (e *endpoint) leave() (outside []func()) {
	if e.Draining {
		return nil
	}
	e.Draining = true
	idle := slices.AppendSeq(e.idle, maps.Keys(e.pinned))
	e.idle, e.pinned = nil, nil
	// Whoever waits for the end of the context runs in its own goroutine.
	return []func(){e.drain, func() {
		for _, c := range idle {
			c.Close()
		}
	}}
}

// pop takes the connection used last.
func (e *endpoint) pop() *Conn {
	n := len(e.idle)
	if n == 0 {
		return nil
	}
	c := e.idle[n-1]
	e.idle[n-1] = nil
	e.idle = e.idle[:n-1]
	return c
}

// expire takes out the connections that went unused for keepTicks.
func (e *endpoint) expire(tick uint32) (old []*Conn) {
	n := 0
	for n < len(e.idle) && tick-e.idle[n].mark >= keepTicks {
		n++
	}
	old = slices.Clone(e.idle[:n])
	e.idle = slices.Delete(e.idle, 0, n)
	return old
}
