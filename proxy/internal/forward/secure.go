package forward

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strconv"
)

// secure makes a connection one over TLS: crypto/tls between the engine and a
// sock that reads and writes the descriptor.
//
// TLS sees no wait: what is there to read is handed to it, and where that makes no
// bytes for the engine, the wait is one for the descriptor, outside TLS. So a
// deadline, which interrupts a wait here at any moment, leaves TLS as it was, and
// an idle connection holds no buffer.
type secure struct {
	conn *tls.Conn
	wire sock
	in   *buffer // ciphertext that TLS has not taken
	// shaking has reads wait, look has them try the descriptor.
	shaking, look bool
	large         bool // the last read filled its buffer
}

// recordSize is the most that one TLS record carries.
const recordSize = 16 << 10

// initTLS makes s a server's end of TLS on nc.
func (s *sock) initTLS(nc net.Conn, config *tls.Config) {
	t := new(secure)
	t.wire.init(nc)
	t.wire.write.stalled = func() {
		if s.write.stalled != nil {
			s.write.stalled()
		}
	}
	t.conn = tls.Server(transport{nc, t}, config)
	s.nc, s.fd, s.secure = t.conn, t.wire.fd, t
}

// transport is what TLS takes for its connection.
type transport struct {
	net.Conn
	t *secure
}

// starved tells TLS that nothing is there yet. It asks for the method Temporary
// to learn that it may go on later.
type starved struct{ error }

func (starved) Timeout() bool   { return true }
func (starved) Temporary() bool { return true }
func (starved) Unwrap() error   { return errWouldBlock }

var errStarved = starved{errWouldBlock}

func (c transport) Read(p []byte) (int, error) {
	t := c.t
	if len(t.in.unread()) == 0 {
		var err error
		switch {
		case t.shaking:
			err = t.fetch(false)
		case t.look:
			err = t.fetch(true)
		default:
			err = errWouldBlock
		}
		if errors.Is(err, errWouldBlock) {
			return 0, errStarved
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, t.in.unread())
	t.in.r += n
	release(&t.in)
	return n, nil
}

func (c transport) Write(p []byte) (int, error) { return c.t.wire.send(p, nil, nil) }

// fetch reads ciphertext.
func (t *secure) fetch(try bool) (err error) {
	if try {
		err = t.wire.tryFill(&t.in, t.large)
	} else {
		err = t.wire.fill(&t.in, t.large)
	}
	t.large = err == nil && t.in.full()
	return err
}

// read is sock.readInto.
func (t *secure) read(b **buffer, large, try bool) error {
	t.look = try
	for {
		n, err := t.into(b, large)
		switch {
		case n > 0:
			return nil
		case err == nil:
		case !errors.Is(err, errWouldBlock):
			return err
		case try:
			return errWouldBlock
		default:
			if err := t.fetch(false); err != nil {
				return err
			}
		}
	}
}

// into has TLS read once into *b.
func (t *secure) into(b **buffer, large bool) (int, error) {
	if *b == nil {
		*b = getBuffer(large)
		defer release(b)
	}
	room := (*b).b[(*b).w:]
	if len(room) == 0 {
		return 0, io.ErrShortBuffer
	}
	n, err := t.conn.Read(room)
	(*b).w += n
	return n, err
}

// send is sock.send. Pieces are put together up to a record's size: each write
// to TLS is a record of its own.
func (t *secure) send(parts ...[]byte) (n int, err error) {
	b := getBuffer(false)
	defer b.free()
	for _, p := range parts {
		for len(p) > 0 {
			if b.w == 0 && len(p) >= recordSize {
				m, err := t.conn.Write(p[:recordSize])
				n, p = n+m, p[m:]
				if err != nil {
					return n, err
				}
				continue
			}
			m := copy(b.b[b.w:recordSize], p)
			b.w, p = b.w+m, p[m:]
			if b.w == recordSize {
				if n, err = t.flush(b, n); err != nil {
					return n, err
				}
			}
		}
	}
	return t.flush(b, n)
}

func (t *secure) flush(b *buffer, n int) (int, error) {
	if b.w == 0 {
		return n, nil
	}
	m, err := t.conn.Write(b.b[:b.w])
	b.w = 0
	return n + m, err
}

// sayGoodbye tells the peer that what it got is all. A cut answer goes without:
// that is how the peer knows.
func (c *conn) sayGoodbye() {
	if c.sock.secure != nil && !c.cut {
		c.sock.closeWrite()
	}
}

// handshake makes the connection ready for its first request. Its time is
// limited by the sweep. What is wrong with it concerns nobody but this client.
func (c *conn) handshake() (ok bool) {
	t := c.sock.secure
	if t == nil {
		return true
	}
	defer c.contain(func() { ok = false })
	c.wait(phaseHandshake)
	if c.srv.draining.Load() {
		return false // the drain may have looked before anything was being waited for
	}
	t.shaking = true
	err := t.conn.Handshake()
	t.shaking = false
	if err != nil {
		c.srv.cfg.Debug("TLS handshake failed", "client", c.ip, "error", err)
		c.refuseClearText(err)
		return false
	}
	if peer := t.conn.ConnectionState().PeerCertificates; len(peer) > 0 {
		c.cert = base64.StdEncoding.EncodeToString(peer[0].Raw)
	}
	return true
}

const clearTextBody = "This address speaks https. Ask for https:// instead of http://.\n"

var clearTextAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
	strconv.Itoa(len(clearTextBody)) + "\r\nRoost-Error: " + codeBadRequest + "\r\nConnection: close\r\n\r\n" + clearTextBody

// refuseClearText tells a client that speaks HTTP without TLS what is wrong.
func (c *conn) refuseClearText(err error) {
	e, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || e.Conn == nil || !isMethod(e.RecordHeader[:]) {
		return
	}
	c.inClear()
	c.wait(phaseClientWrite)
	if _, err := c.sock.send([]byte(clearTextAnswer), nil, nil); err == nil {
		c.linger()
	}
}

// inClear has the connection go on without TLS.
func (c *conn) inClear() {
	c.mu.Lock() // whoever interrupts uses the sock
	defer c.mu.Unlock()
	t := c.sock.secure
	discard(&t.in)
	c.sock.secure = nil
	c.sock.init(t.wire.nc)
}

// isMethod reports whether b may start a request: no record of TLS does so with a
// capital letter.
func isMethod(b []byte) bool {
	for _, c := range b[:3] {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
