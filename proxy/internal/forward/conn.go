package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
)

// cause is why a wait was interrupted from outside.
type cause uint8

const (
	causeNone     cause = iota
	causeSlow           // the client took longer than it may
	causeGone           // the client has left
	causeSilent         // the app took longer than it may
	causeBody           // the request's body is malformed or too large
	causeShutdown       // the drain of the proxy is over
)

// conn is one client connection. Its goroutine runs one exchange after
// another; only the fields behind mu are touched by others.
type conn struct {
	srv   *Server
	sweep *sweeper
	slot  *slot
	sock  sock
	in    *buffer // what the client sent and nobody has used

	client  netip.Addr
	ip      string // client as text
	from    uint16 // client's port
	port    string // of ours that the client has connected to
	trusted bool
	cert    string // the client's certificate, base64 of DER
	// cut has close send RST.
	cut bool
	// pairs are the connections to apps that belong to this client.
	pairs []backend.Pinned
	// Noted each time before a write to the app waits, by the connection's
	// goroutine and by that of an upload.
	appStalled, upStalled func()

	mu     sync.Mutex // guards what follows
	cause  cause
	peer   *sock              // the app's connection
	cancel context.CancelFunc // ends a wait for an instance
	tunnel *tunnel
}

func (s *Server) newConn(g *group, nc net.Conn) *conn {
	c := &conn{srv: s, sweep: g.sweep, port: g.port}
	if g.tls != nil {
		c.sock.initTLS(nc, g.tls)
	} else {
		c.sock.init(nc)
	}
	c.sock.write.stalled = func() { c.wait(phaseClientWrite) }
	c.appStalled = func() { c.wait(phaseApp) }
	c.upStalled = func() { c.upWaits(upWrite) }
	c.identify(nc)
	c.slot = g.sweep.enter(c)
	return c
}

// identify notes who the client is. One on a unix socket has no address: it is
// on this machine, and whoever may connect is trusted no more than others.
func (c *conn) identify(nc net.Conn) {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		// Without the zone, which only means something here: the app gets the
		// address, and no prefix contains one with a zone.
		c.client = a.AddrPort().Addr().Unmap().WithZone("")
		c.ip, c.from = c.client.String(), a.AddrPort().Port()
		c.trusted = c.srv.trusts(c.client)
	}
}

// serve runs the connection to its end.
func (c *conn) serve() {
	defer c.close()
	if !c.handshake() {
		return
	}
	first := true
	for {
		if first {
			c.wait(phaseNew)
		} else {
			c.wait(phaseIdle)
			c.forgive()
		}
		if !c.arrival() {
			return
		}
		first = false
		x := newExchange(c)
		keep := x.run()
		x.free()
		if !keep {
			return
		}
	}
}

// contain is deferred around what handles a peer's bytes. A fault of this program
// costs the connection that found it, not those of every app; cleanUp gives back
// what the connection holds.
func (c *conn) contain(cleanUp func()) {
	if v := recover(); v != nil {
		c.srv.cfg.Warn("a fault of this program ended a connection: please report it", "fault", v, "stack", string(debug.Stack()))
		cleanUp()
	}
}

// arrival waits for the first byte of a request.
func (c *conn) arrival() bool {
	if len(c.in.unread()) > 0 {
		c.in.compact(0)
		return true
	}
	release(&c.in)
	if c.srv.draining.Load() && !c.lastLook() {
		return false
	}
	err := c.sock.fill(&c.in, false)
	if err != nil && c.interrupted() == causeShutdown {
		// Asked to go while idle. A request that is there already was sent
		// in good faith.
		return c.lastLook()
	}
	return err == nil
}

// lastLook takes what has arrived already.
func (c *conn) lastLook() bool {
	c.resume()
	return c.sock.tryFill(&c.in, false) == nil
}

func (c *conn) close() {
	discard(&c.in)
	for _, p := range c.pairs {
		p.Close()
	}
	c.sayGoodbye()
	c.sweep.leave(c.slot)
	c.sock.close(c.cut)
}

// linger lets the client read an answer that did not wait for all it sends:
// a close with unread bytes would send RST, and the answer might be lost.
func (c *conn) linger() {
	c.resume()
	c.wait(phaseLinger)
	c.sock.closeWrite()
	for {
		discard(&c.in)
		if c.sock.fill(&c.in, false) != nil {
			return
		}
	}
}

// wait notes what the connection waits for from now on.
func (c *conn) wait(p phase) { c.slot.word.Store(word(p, c.srv.ms())) }

// upWaits notes what the upload waits for from now on.
func (c *conn) upWaits(p phase) { c.slot.up.Store(word(p, c.srv.ms())) }

// take interrupts the wait w if it still lasts.
func (c *conn) take(w uint64, why cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, since := unpack(w)
	if c.slot.word.CompareAndSwap(w, word(phaseTaken, since)) {
		c.stop(why)
	}
}

// interrupt ends whatever the connection waits for.
func (c *conn) interrupt(why cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop(why)
}

// stop wakes the connection's goroutine; the first cause counts. The caller
// holds mu.
func (c *conn) stop(why cause) {
	if c.cause != causeNone {
		return
	}
	c.cause = why
	if c.peer != nil {
		c.peer.deadline(past)
	}
	if c.cancel != nil {
		c.cancel()
	}
	// The client still gets an answer where one is due.
	if why != causeSilent && why != causeBody && c.cancel == nil {
		c.sock.deadline(past)
	}
}

// interrupted returns the cause of an interruption.
func (c *conn) interrupted() cause {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// resume makes the client's connection usable after an interruption.
func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != causeNone {
		c.cause = causeNone
		c.sock.deadline(time.Time{})
	}
}

// forgive forgets that an app was found silent just as its answer was complete:
// the next exchange has no part in it. Every other cause ends the connection.
func (c *conn) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == causeSilent {
		c.cause = causeNone
	}
}

// restore makes both connections usable again after the upload was stopped, unless
// they were interrupted.
func (c *conn) restore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == causeNone && c.peer != nil {
		c.peer.writeDeadline(time.Time{})
	}
	if c.cause == causeNone || c.cause == causeSilent || c.cause == causeBody {
		c.sock.readDeadline(time.Time{})
	}
}

// attach makes p the app's connection, so that an interruption reaches it.
func (c *conn) attach(p *sock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer = p
	if c.cause != causeNone {
		p.deadline(past)
	}
}

// detach takes it back. It reports false if there was an interruption: the
// connection is of no use then.
func (c *conn) detach() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer = nil
	return c.cause == causeNone
}

// holding returns a context for a wait that ends with an interruption.
func (c *conn) holding() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
	if c.cause != causeNone {
		cancel()
	}
	return ctx, func() {
		c.mu.Lock()
		c.cancel = nil
		c.mu.Unlock()
		cancel()
	}
}

// errInterrupted stands for an interruption where an error is due.
var errInterrupted = errors.New("interrupted")
