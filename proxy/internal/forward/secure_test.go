package forward

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func withTLS(f func(*tls.Config)) option {
	return func(w *world) {
		w.tls = serverTLS()
		if f != nil {
			f(w.tls)
		}
	}
}

// dialAs connects with a configuration of the client's own.
func (w *world) dialAs(f func(*tls.Config)) (*client, *tls.Conn) {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	config := clientTLS()
	f(config)
	c := tls.Client(nc, config)
	return &client{c, w.t, bufio.NewReader(c)}, c
}

// TestSecure_ClientCertificate: only an app as the module hosts it gets one, and
// only the one of the connection.
func TestSecure_ClientCertificate(t *testing.T) {
	want := base64.StdEncoding.EncodeToString(testCertificate().Certificate[0])
	with := func(c *tls.Config) { c.Certificates = []tls.Certificate{testCertificate()} }
	without := func(*tls.Config) {}
	const request = "GET / HTTP/1.1\r\nHost: h\r\nMS-ASPNETCORE-CLIENTCERT: forged\r\n\r\n"
	for _, tt := range []struct {
		module bool
		client func(*tls.Config)
		want   []string
	}{{true, with, []string{want}}, {true, without, nil}, {false, with, nil}} {
		w := newWorld(t, []string{echo(t, "")}, withTLS(nil), func(w *world) { w.set.Endpoints[0].Module = tt.module })
		c, _ := w.dialAs(tt.client)
		for range 2 {
			_, head := c.send(request).expect(200, "")
			wantFields(t, head, map[string][]string{"MS-ASPNETCORE-CLIENTCERT": tt.want, "X-Forwarded-Proto": {"https"}})
		}
	}
}

// TestSecure_ResumedSession: a second connection is cheap, and still the client's.
func TestSecure_ResumedSession(t *testing.T) {
	w := newWorld(t, []string{echo(t, "")}, withTLS(nil), func(w *world) { w.set.Endpoints[0].Module = true })
	cache := tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		c, conn := w.dialAs(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{testCertificate()}
			c.ClientSessionCache = cache
		})
		_, head := c.send(get("/")).expect(200, "")
		if got := fields(head, "MS-ASPNETCORE-CLIENTCERT"); len(got) != 1 {
			t.Errorf("connection %d: certificates %q", i, got)
		}
		if resumed := conn.ConnectionState().DidResume; resumed != (i == 1) {
			t.Errorf("connection %d: resumed %v", i, resumed)
		}
	}
}

func TestSecure_Protocols(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, answering(ok))}, withTLS(nil))
	c, conn := w.dialAs(func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })
	c.send(get("/")).expect(200, "")
	if p := conn.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("negotiated %q", p)
	}
	c, conn = w.dialAs(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	c.send(get("/")).expect(200, "")
	if v := conn.ConnectionState().Version; v != tls.VersionTLS12 {
		t.Errorf("version %x", v)
	}
	for _, old := range []func(*tls.Config){
		func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
	} {
		if _, conn := w.dialAs(old); conn.Handshake() == nil {
			t.Error("a handshake succeeded that has no protocol in common")
		}
	}
}

// TestSecure_BadHandshakes: they cost nobody else anything, and the log of those
// who did not ask for more nothing either.
func TestSecure_BadHandshakes(t *testing.T) {
	told := make(chan any, 16)
	w := newWorld(t, []string{rawApp(t, answering(ok))}, withTLS(nil),
		config(func(c *Config) {
			c.Debug = func(_ string, kv ...any) { told <- kv[len(kv)-1] }
			c.Warn = func(msg string, _ ...any) { t.Errorf("warned: %s", msg) }
		}))
	silent, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, f := range map[string]func(net.Conn){
		"leaves":  func(c net.Conn) {},
		"garbage": func(c net.Conn) { io.WriteString(c, "\x16\x03\x01\x00\x05hello") },
		"half":    func(c net.Conn) { io.WriteString(c, "\x16\x03\x01\x02\x00\x01") },
	} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		f(c)
		c.(*net.TCPConn).CloseWrite()
		c.SetDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(c); err != nil && !isReset(err) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		c.Close()
		receive(t, told)
	}
	w.dial().send(get("/")).expect(200, "")
}

func TestSecure_SlowHandshake(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, answering(ok))}, withTLS(nil), short(Limits{Handshake: 100 * time.Millisecond}))
	for _, begin := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, begin)
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(c); err != nil && !isReset(err) {
			t.Errorf("still open: %v", err)
		}
		c.Close()
	}
	c := w.dial()
	c.send(get("/")).expect(200, "")
}

func TestSecure_ClearText(t *testing.T) {
	w := newWorld(t, []string{untouched(t)}, withTLS(nil))
	for _, request := range []string{get("/"), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), "PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n"} {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(patience))
		c := &client{nc, t, bufio.NewReader(nc)}
		resp, body := c.send(request).expect(400, "bad-request")
		if !resp.Close || !strings.Contains(body, "https://") {
			t.Errorf("%v %q", resp.Header, body)
		}
		c.CloseWrite()
		c.closed()
		nc.Close()
	}
}

// TestSecure_EndsTellTheirKind: a whole answer ends with a goodbye, half a one
// without.
func TestSecure_EndsTellTheirKind(t *testing.T) {
	whole := rawApp(t, func(c *client) { c.head(); io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nsome") })
	w := newWorld(t, []string{whole}, withTLS(nil))
	if b, err := io.ReadAll(w.dial().send("GET / HTTP/1.0\r\n\r\n").r); err != nil || !strings.HasSuffix(string(b), "some") {
		t.Errorf("whole: %q, %v", b, err)
	}
	half := rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")
	})
	w = newWorld(t, []string{half}, withTLS(nil))
	b, err := io.ReadAll(w.dial().send("GET / HTTP/1.0\r\n\r\n").r)
	if err == nil || !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
		t.Errorf("half: %q, %v", b, err)
	}
}

// TestSecure_ShutdownDuringAHandshake: it is not waited for.
func TestSecure_ShutdownDuringAHandshake(t *testing.T) {
	w := newWorld(t, nil, withTLS(nil))
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "\x16\x03\x01\x02\x00\x01")
	nc.SetDeadline(time.Now().Add(patience))
	w.dial().send(get("/")).expect(502, "backend-lost") // so that the first one is accepted
	w.stop()
	if _, err := io.ReadAll(nc); err != nil && !isReset(err) {
		t.Errorf("still open: %v", err)
	}
}

// TestSecure_ShutdownBeforeAHandshake: one that was accepted as the drain began, and
// that the drain has not seen waiting, is not waited for either.
func TestSecure_ShutdownBeforeAHandshake(t *testing.T) {
	s := NewServer(Config{})
	s.draining.Store(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	g := &group{sweep: newSweeper(&s.cfg.Limits, s.ms), tls: serverTLS()}
	ended := make(chan struct{})
	go func() { s.newConn(g, nc).serve(); close(ended) }()
	receive(t, ended)
}

// TestSecure_InterruptedReadsLoseNothing: records come in pieces, with every look
// of the upload in between.
func TestSecure_InterruptedReadsLoseNothing(t *testing.T) {
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})}, withTLS(nil))
	body := string(noise(50_000))
	for range 5 {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(patience))
		conn := tls.Client(pieces{nc}, clientTLS())
		c := &client{conn, t, bufio.NewReader(conn)}
		if _, got := c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n"+body).expect(200, ""); got != body {
			t.Fatalf("got %d other bytes", len(got))
		}
		nc.Close()
	}
}

// pieces is a connection whose writes are short ones.
type pieces struct{ net.Conn }

func (p pieces) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		m, err := p.Conn.Write(b[:min(997, len(b))])
		n, b = n+m, b[m:]
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// TestSecure_NothingToReadHoldsNothing: neither a look that finds nothing nor half a
// record keeps a buffer, and what interrupts a wait leaves TLS as it was.
func TestSecure_NothingToReadHoldsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	wire := &gate{Conn: nc}
	peer := tls.Client(wire, clientTLS())
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	var s sock
	s.initTLS(accepted, serverTLS())
	s.deadline(time.Now().Add(patience))
	nc.SetDeadline(time.Now().Add(patience))
	shaken := make(chan error, 1)
	go func() { shaken <- peer.Handshake() }()
	s.secure.shaking = true
	if err := errors.Join(s.secure.conn.Handshake(), receive(t, shaken)); err != nil {
		t.Fatal(err)
	}
	s.secure.shaking = false

	var b *buffer
	empty := func(when string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || b != nil || s.secure.in != nil {
			t.Fatalf("%s: %v, buffers %v %v", when, err, b, s.secure.in)
		}
	}
	empty("nothing sent", s.tryFill(&b, false), errWouldBlock)
	wire.hold = true
	peer.Write([]byte("hello"))
	half := len(wire.held) / 2
	nc.Write(wire.held[:half])
	deadline := time.Now().Add(patience)
	for !arrived(s.fd) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	empty("half a record", s.tryFill(&b, false), errWouldBlock)
	s.readDeadline(past)
	empty("interrupted", s.fill(&b, false), os.ErrDeadlineExceeded)
	s.readDeadline(time.Now().Add(patience))
	nc.Write(wire.held[half:])
	if err := s.fill(&b, false); err != nil || string(b.unread()) != "hello" {
		t.Fatalf("%q, %v", b.unread(), err)
	}
	discard(&b)
	empty("all read", s.tryFill(&b, false), errWouldBlock)
	wire.hold = false
	peer.Close()
	empty("closed", s.fill(&b, false), io.EOF)
}

// gate is a connection that keeps what is written where it is told to.
type gate struct {
	net.Conn
	hold bool
	held []byte
}

func (g *gate) Write(p []byte) (int, error) {
	if g.hold {
		g.held = append(g.held, p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// arrived reports whether a descriptor has something to read.
func arrived(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return n > 0 && err == nil
}
