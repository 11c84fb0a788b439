package forward

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostd/roost/proxy/internal/http1"
)

// closeGrace is how long the ends of a WebSocket have, once they were told to
// close, to finish the frame under way and to say goodbye.
const closeGrace = 2 * time.Second

// tunnel is an upgraded connection: two flows of bytes, each with a goroutine.
// It ends by a close frame where Roost is the one who ends it.
type tunnel struct {
	client, app *sock
	policy      bool // close at once on a drain
	draining    atomic.Bool
	closing     atomic.Pointer[time.Time] // until when, once Roost ends it
	ended       atomic.Bool               // the app has closed its direction
	leaving     func() bool               // the instance is being drained
	contain     func(cleanUp func())      // see conn
	down, up    flow
}

// flow is one direction.
type flow struct {
	t        *tunnel
	src, dst *sock
	buf      *buffer
	frames   frames
	goodbye  []byte // the close frame for dst
	said     bool
	bytes    int64
	err      error
}

// switchProtocols answers 101 and carries bytes both ways until both ends
// have closed.
func (x *exchange) switchProtocols() {
	c := x.c
	if !x.req.WebSocket() || !x.resp.SwitchesTo("websocket") {
		x.fail(&failure{code: codeBackendLost, reason: "bad answer: a switch of protocols that was not asked for"})
		return
	}
	x.rec.Status, x.rec.Reason = 101, ""
	x.keep, x.answering = false, true
	x.out = http1.AppendStatus(x.out[:0], 101, x.resp.Reason)
	x.out = x.resp.AppendExcept(x.out, dropInterim)
	x.out = append(x.out, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)

	t := &tunnel{client: &c.sock, app: x.peer, policy: x.policy.CloseWebSockets, leaving: x.lease.Draining, contain: c.contain}
	t.down = flow{t: t, src: x.peer, dst: &c.sock, buf: x.bb, goodbye: goingAway}
	t.up = flow{t: t, src: &c.sock, dst: x.peer, buf: x.takeEarly(), goodbye: goingAwayMasked}
	x.bb = nil
	x.save()
	c.wait(phaseTunnel)
	c.sock.write.stalled, x.peer.write.stalled = nil, nil // no time limits from here on
	if _, err := c.sock.send(x.out, nil, nil); err != nil {
		discard(&t.down.buf)
		discard(&t.up.buf)
		x.gone()
		return
	}
	c.setTunnel(t)
	stop := x.lease.OnDrain(func() { t.drain(t.policy) })
	// An app that is taken offline is to leave its files now.
	stopOffline := x.lease.OnOffline(func() { t.drain(true) })
	stopEnd := x.lease.OnEnd(func() { t.drain(true) })
	if c.srv.draining.Load() {
		t.drain(t.policy)
	}
	t.run()
	stop()
	stopOffline()
	stopEnd()
	c.setTunnel(nil)
	x.rec.BytesIn, x.rec.BytesOut = t.up.bytes, t.down.bytes
	c.cut = t.down.err != nil && !t.down.said
	x.letGo(false)
}

// takeEarly takes over what the client sent after its handshake.
func (x *exchange) takeEarly() *buffer {
	rest := x.c.in.unread()
	if len(rest) == 0 {
		return nil
	}
	b := getBuffer(len(rest) > smallBuffer)
	b.w = copy(b.b, rest)
	x.c.in.r = x.c.in.w
	return b
}

func (c *conn) setTunnel(t *tunnel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tunnel = t
}

// drainTunnel ends an upgraded connection, if it is one: at once if force is
// set or its app wants that, else when the instance ends.
func (c *conn) drainTunnel(force bool) bool {
	c.mu.Lock()
	t := c.tunnel
	c.mu.Unlock()
	if t == nil {
		return false
	}
	t.drain(force || t.policy)
	return true
}

// drain notes that the instance or the proxy is going away.
func (t *tunnel) drain(now bool) {
	t.draining.Store(true)
	if t.ended.Load() {
		// An instance that goes away reads nothing more.
		t.client.readDeadline(time.Now().Add(closeGrace))
	}
	if now && t.closing.CompareAndSwap(nil, new(time.Now().Add(closeGrace))) {
		t.wake()
	}
}

// wake has both flows see that the tunnel is closing: out of their reads at once,
// out of a write to an end that takes nothing when the time for it is over.
func (t *tunnel) wake() {
	for _, s := range []*sock{t.client, t.app} {
		s.writeDeadline(*t.closing.Load())
		s.readDeadline(past)
	}
}

// woken reports whether a read failed because of wake: it goes on until the
// tunnel's end.
func (t *tunnel) woken(s *sock, err error) bool {
	end := t.closing.Load()
	if end == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(*end) {
		return false
	}
	s.readDeadline(*end)
	return true
}

func (t *tunnel) run() {
	var up sync.WaitGroup
	up.Go(t.up.run)
	t.down.run()
	up.Wait()
}

// run carries bytes until src ends. A failure in either direction ends both.
func (f *flow) run() {
	defer discard(&f.buf)
	defer f.t.contain(func() {
		f.t.client.readDeadline(past)
		f.t.app.readDeadline(past)
	})
	for f.pass(f.t.closing.Load() != nil) == nil {
		release(&f.buf)
		err := f.src.fill(&f.buf, false)
		if err == nil || f.t.woken(f.src, err) {
			continue
		}
		if !errors.Is(err, io.EOF) {
			f.err = err
		}
		break
	}
	f.end()
}

// pass sends on what was read. Once the tunnel is closing it stops at the end
// of a frame, says goodbye and drops the rest.
func (f *flow) pass(closing bool) error {
	p := f.buf.unread()
	if f.buf != nil {
		f.buf.r = f.buf.w
	}
	if f.said {
		f.frames.advance(p)
		if f.frames.closed {
			return io.EOF // the answer to the goodbye from the other side
		}
		return nil
	}
	rest := p[len(p):]
	if closing {
		n := f.frames.finish(p)
		p, rest = p[:n], p[n:]
	} else {
		f.frames.advance(p)
	}
	if len(p) > 0 {
		if _, err := f.dst.send(p, nil, nil); err != nil {
			f.err = err
			return err
		}
		f.bytes += int64(len(p))
	}
	if !closing || !f.frames.atBoundary() {
		return nil
	}
	if err := f.sayGoodbye(); err != nil {
		return err
	}
	f.frames.advance(rest)
	if f.frames.closed {
		return io.EOF
	}
	return nil
}

// sayGoodbye sends a close frame, unless src has sent one.
func (f *flow) sayGoodbye() error {
	f.said = true
	if f.frames.closed {
		return io.EOF
	}
	_, err := f.dst.send(f.goodbye, nil, nil)
	return err
}

// end passes the end of src on: an instance that went away while it was being
// drained gets a close frame to the client after it, as it should have sent
// itself; other failures end the other direction too.
func (f *flow) end() {
	if f == &f.t.down && (f.t.draining.Load() || f.t.leaving()) && !f.said && f.frames.atBoundary() {
		if f.sayGoodbye() == nil {
			f.err = nil
		}
	}
	if f.err != nil {
		f.t.client.readDeadline(past)
		f.t.app.readDeadline(past)
	}
	f.dst.closeWrite()
	if f == &f.t.down {
		f.t.ended.Store(true)
		if f.t.draining.Load() {
			f.t.client.readDeadline(time.Now().Add(closeGrace))
		}
	}
}
