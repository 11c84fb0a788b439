package backend

import (
	"context"
	"net"
	"time"
)

// Idle connections are closed after 3 to 4 seconds: below the shortest usual
// keep-alive of an app, which is Node's 5 s, so that it is rarely the app that
// closes one just as a request is sent on it. Counting ticks instead of asking
// for the time keeps clock reads off the path of a request.
const (
	tickLength = time.Second
	keepTicks  = 4
)

// dialTimeout bounds a connect. The app is on this machine: what takes longer
// is a full backlog, and another instance may do better.
const dialTimeout = 5 * time.Second

// Conn is a connection to an endpoint, used by one exchange at a time.
type Conn struct {
	net.Conn
	// Data is whatever the user of the connection keeps with it.
	Data any
	// Reused says that it has carried an exchange before.
	Reused bool
	// Private says that the app may take whatever comes on the connection for
	// one client's: Release closes it instead of making it available to others.
	Private bool

	mark uint32 // the tick that it became idle in
}

// Lease is a claim on an endpoint, for one exchange.
type Lease struct {
	pool     *Pool
	endpoint *endpoint
	idle     *Conn
	keep     *Conn
}

// Endpoint describes what was claimed.
func (l *Lease) Endpoint() *Endpoint { return &l.endpoint.Endpoint }

// Idle hands over an idle connection, if the claim came with one.
func (l *Lease) Idle() *Conn {
	c := l.idle
	l.idle = nil
	return c
}

// Dial opens a new connection.
func (l *Lease) Dial() (*Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	nc, err := d.Dial(l.endpoint.Network, l.endpoint.Address)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: nc}, nil
}

// Keep has Release make c, which has nothing pending, available to others,
// unless it is private.
func (l *Lease) Keep(c *Conn) { l.keep = c }

// OnDrain calls f in a goroutine of its own once the endpoint takes no more
// requests. Stop takes that back; it reports false if f was started.
func (l *Lease) OnDrain(f func()) (stop func() bool) {
	l.pool.mu.Lock()
	ctx := l.endpoint.draining
	l.pool.mu.Unlock()
	return context.AfterFunc(ctx, f)
}

// OnEnd calls f, in a goroutine of its own, when the endpoint has drained and is
// told to end. The function it returns takes that back, see context.AfterFunc.
func (l *Lease) OnEnd(f func()) (stop func() bool) {
	return context.AfterFunc(l.endpoint.over, f)
}

// OnOffline calls f, in a goroutine of its own, when the app goes offline, at once
// if it is. The function it returns takes that back, see context.AfterFunc.
func (l *Lease) OnOffline(f func()) (stop func() bool) {
	l.pool.mu.Lock()
	ctx := l.pool.service
	l.pool.mu.Unlock()
	return context.AfterFunc(ctx, f)
}

// Draining reports whether the endpoint takes no more requests.
func (l *Lease) Draining() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return l.endpoint.Draining
}

// Release ends the claim. Doing it again has no effect.
func (l *Lease) Release() {
	e := l.endpoint
	if e == nil {
		return
	}
	closing := l.pool.release(e, l.idle, l.keep)
	*l = Lease{}
	for _, c := range closing {
		if c != nil {
			c.Close()
		}
	}
}

// release gives up a claim and returns the connections to close.
func (p *Pool) release(e *endpoint, unused, keep *Conn) (closing [2]*Conn) {
	p.mu.Lock()
	e.inFlight--
	drained := e.inFlight == 0 && e.Draining
	if drained {
		for i, d := range p.dropped {
			if d == e {
				p.dropped = append(p.dropped[:i], p.dropped[i+1:]...)
				break
			}
		}
	}
	for i, c := range [2]*Conn{unused, keep} {
		if c == nil {
			continue
		}
		if e.Draining || c.Private {
			closing[i] = c
			continue
		}
		c.mark = p.tick
		c.Reused = true
		e.idle = append(e.idle, c)
		if p.sweeping == nil {
			p.sweeping = time.AfterFunc(tickLength, p.sweep)
		}
	}
	p.mu.Unlock()
	if drained {
		p.notify(p.name)
	}
	return closing
}

// sweep closes connections that were idle for too long. It runs once a tick
// as long as there are idle ones.
func (p *Pool) sweep() {
	p.mu.Lock()
	p.tick++
	var old []*Conn
	left := 0
	for _, e := range p.current {
		old = append(old, e.expire(p.tick)...)
		left += len(e.idle)
	}
	if left > 0 {
		p.sweeping.Reset(tickLength)
	} else {
		p.sweeping = nil
	}
	p.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}
