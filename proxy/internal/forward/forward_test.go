package forward

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// waiterFunc is a Waiter made of a function.
type waiterFunc func(ctx context.Context, p *backend.Pool, failed []string) error

func (f waiterFunc) Wait(ctx context.Context, p *backend.Pool, failed []string) error {
	return f(ctx, p, failed)
}

// journal is an Observer that keeps copies.
type journal struct{ records chan Record }

func (j *journal) Exchange(r *Record) {
	c := *r
	c.Host, c.Method, c.Path = []byte(string(r.Host)), []byte(string(r.Method)), []byte(string(r.Path))
	c.Query, c.RequestID = []byte(string(r.Query)), []byte(string(r.RequestID))
	select {
	case j.records <- c:
	default:
	}
}

func (j *journal) next(t *testing.T) Record {
	t.Helper()
	select {
	case r := <-j.records:
		return r
	case <-time.After(patience):
		t.Fatal("no exchange was recorded")
		panic("unreachable")
	}
}

// world is a server between a test and its apps.
type world struct {
	t        testing.TB
	cfg      Config
	registry *backend.Registry
	journal  *journal
	addr     string
	stop     context.CancelFunc
	served   chan error
	revision uint64
	set      backend.Set
	tls      *tls.Config // nil: in clear text
}

type option func(*world)

// newWorld starts a server with one app "a" for every host, whose instances
// listen at addrs.
func newWorld(t testing.TB, addrs []string, opts ...option) *world {
	w := &world{t: t, journal: &journal{make(chan Record, 64)}, served: make(chan error, 1)}
	if overTLS {
		w.tls = serverTLS()
	}
	w.registry = backend.NewRegistry(func(string) {})
	w.set = backend.Set{App: "a", Epoch: 1, Policy: backend.Policy{Timeout: patience}}
	for i, a := range addrs {
		network := "tcp"
		if strings.HasPrefix(a, "/") {
			network = "unix"
		}
		w.set.Endpoints = append(w.set.Endpoints, backend.Endpoint{Instance: fmt.Sprintf("i%d", i+1),
			Generation: 7, Network: network, Address: a, Token: "secret"})
	}
	w.cfg = Config{
		Routes:       new(atomic.Pointer[route.Table[*backend.Pool]]),
		Observer:     w.journal,
		DrainTimeout: patience,
		Waiter: waiterFunc(func(context.Context, *backend.Pool, []string) error {
			return &activator.Failure{Code: codeBackendLost, Message: "nobody starts anything here"}
		}),
	}
	for _, o := range opts {
		o(w)
	}
	w.apply()
	w.routes(route.Rule{Path: "/"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.served <- NewServer(w.cfg).serve(ctx, l, w.tls) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-w.served:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(2 * patience):
			t.Error("Serve does not return")
		}
		w.registry.Replace(nil, func() {})
	})
	return w
}

// apply publishes w.set as the next revision.
func (w *world) apply() {
	w.revision++
	w.set.Revision = w.revision
	if w.revision == 1 {
		w.registry.Replace([]backend.Set{w.set}, func() {})
	} else if !w.registry.Apply(w.set) {
		w.t.Error("set not applied")
	}
}

func (w *world) routes(rules ...route.Rule) {
	var entries []route.Entry[*backend.Pool]
	for _, r := range rules {
		entries = append(entries, route.Entry[*backend.Pool]{Rule: r, Target: w.registry.Get("a")})
	}
	w.cfg.Routes.Store(route.New(entries))
}

func policy(f func(*backend.Policy)) option { return func(w *world) { f(&w.set.Policy) } }

func config(f func(*Config)) option { return func(w *world) { f(&w.cfg) } }

func trusting() option {
	return config(func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
}

// client is a raw connection to the server.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (w *world) dial() *client {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if w.tls != nil {
		c = tls.Client(c, clientTLS())
	}
	return &client{c, w.t, bufio.NewReader(c)}
}

func (c *client) send(s string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatalf("send: %v", err)
	}
	return c
}

// response reads a response to a request with method.
func (c *client) response(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("body: %v", err)
	}
	resp.Body.Close()
	return resp, string(body)
}

// expect reads a response and checks status and Roost-Error.
func (c *client) expect(status int, code string) (*http.Response, string) {
	c.t.Helper()
	resp, body := c.response("GET")
	if resp.StatusCode != status || resp.Header.Get("Roost-Error") != code {
		c.t.Fatalf("got %s, Roost-Error %q, want %d %q; body %q", resp.Status, resp.Header.Get("Roost-Error"), status, code, body)
	}
	return resp, body
}

// closed checks that nothing more comes and the connection ends.
func (c *client) closed() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil && !isReset(err) {
		c.t.Fatalf("connection still open: %q, %v", b, err)
	}
}

func isReset(err error) bool {
	return err != nil && strings.Contains(err.Error(), "reset by peer")
}

// head reads a request's head as bytes, "" at the end of the connection.
func (c *client) head() string {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return ""
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// answer is a raw app that reads each head and writes the same bytes.
func answering(reply string) func(*client) {
	return func(c *client) {
		for c.head() != "" {
			io.WriteString(c, reply)
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }

func TestServer_ForwardsAndKeepsAlive(t *testing.T) {
	app := httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, r.Host)
	})
	w := newWorld(t, []string{app})
	c := w.dial()
	for i := range 3 {
		_, body := c.send(get(fmt.Sprintf("/p%d?q=%d", i, i))).expect(200, "")
		if want := fmt.Sprintf("GET /p%d?q=%d h", i, i); body != want {
			t.Errorf("body %q, want %q", body, want)
		}
		r := w.journal.next(t)
		if r.App != "a" || r.Instance != "i1" || r.Generation != 7 || r.Status != 200 || string(r.Path) != fmt.Sprintf("/p%d", i) ||
			r.BytesOut != int64(len(body)) || r.Duration <= 0 || r.Backend <= 0 || r.Error != "" || len(r.RequestID) != 32 || r.Client != "127.0.0.1" {
			t.Errorf("record %+v", r)
		}
	}
	load := w.registry.Loads()[0]
	if load.InFlight != 0 || load.Requests != 3 {
		t.Errorf("load %+v", load)
	}
}

func TestServer_Pipelining(t *testing.T) {
	app := httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	})
	w := newWorld(t, []string{app})
	c := w.dial()
	c.send(get("/1") +
		"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\ndef\r\n2\r\ngh\r\n0\r\n\r\n" +
		get("/4"))
	for _, want := range []string{"/1 ", "/2 abc", "/3 defgh", "/4 "} {
		if _, body := c.expect(200, ""); body != want {
			t.Errorf("body %q, want %q", body, want)
		}
	}
}

func TestServer_ByteByByte(t *testing.T) {
	app := httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	w := newWorld(t, []string{app})
	c := w.dial()
	for _, b := range []byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n") {
		c.send(string(b))
	}
	if _, body := c.expect(200, ""); body != "abc" {
		t.Errorf("body %q", body)
	}
}

func TestServer_UnixSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(l) })
	defer wg.Wait()
	defer srv.Close()
	w := newWorld(t, []string{path})
	c := w.dial()
	for range 2 {
		c.send(get("/")).expect(200, "")
	}
}

func TestServer_NoRoute(t *testing.T) {
	w := newWorld(t, nil)
	w.routes(route.Rule{Host: "other", Path: "/"})
	c := w.dial()
	resp, body := c.send(get("/")).expect(404, "no-route")
	if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" || !strings.Contains(body, `"code":"no-route"`) {
		t.Errorf("%s: %s", ct, body)
	}
	// The connection goes on, also behind a body that nobody wanted.
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel")
	c.expect(404, "no-route")
	c.send("lo"+get("/")).expect(404, "no-route")
	if r := w.journal.next(t); r.Status != 404 || r.Error != "no-route" || r.App != "" {
		t.Errorf("record %+v", r)
	}
}

// receive takes the next value of ch.
func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
