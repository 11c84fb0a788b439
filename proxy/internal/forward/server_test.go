package forward

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roostd/roost/proxy/internal/backend"
)

func TestLimits_Verdict(t *testing.T) {
	var l Limits
	l.defaults()
	at := func(p phase, ms int64) uint64 { return word(p, ms) }
	tests := []struct {
		name    string
		w, up   uint64
		timeout int64
		now     int64
		want    cause
	}{
		{"head in time", at(phaseHead, 1000), 0, 0, 30_999, causeNone},
		{"head too slow", at(phaseHead, 1000), 0, 0, 31_000, causeSlow},
		{"idle", at(phaseIdle, 1000), 0, 0, 75_999, causeNone},
		{"idle for too long", at(phaseIdle, 1000), 0, 0, 76_000, causeSlow},
		{"client takes nothing", at(phaseClientWrite, 0), 0, 10, 60_000, causeSlow},
		{"app in time", at(phaseApp, 1000), 0, 500, 1499, causeNone},
		{"app silent", at(phaseApp, 1000), 0, 500, 1500, causeSilent},
		{"no limit", at(phaseApp, 1000), 0, 0, 1 << 40, causeNone},
		{"upload waits for the client", at(phaseApp, 1000), at(upRead, 2000), 500, 61_999, causeNone},
		{"upload stalls", at(phaseApp, 1000), at(upRead, 2000), 500, 62_000, causeSlow},
		{"app takes nothing", at(phaseApp, 1000), at(upWrite, 2000), 500, 2500, causeSilent},
		{"upload just ended", at(phaseApp, 1000), at(upNone, 2000), 500, 2499, causeNone},
		{"stream is silent", at(phaseStream, 1000), 0, 500, 1500, causeSilent},
		{"stream both ways", at(phaseStream, 1000), at(upRead, 1), 500, 1499, causeNone},
		{"waiting for an instance", at(phaseHold, 0), 0, 500, 1 << 40, causeNone},
		{"tunnel", at(phaseTunnel, 0), 0, 500, 1 << 40, causeNone},
		{"linger", at(phaseLinger, 0), 0, 0, 5000, causeSlow},
	}
	for _, tt := range tests {
		if got := l.verdict(tt.w, tt.up, tt.timeout, tt.now); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestSweeper_Pace(t *testing.T) {
	s := newSweeper(&Limits{}, func() int64 { return 0 })
	if d := s.pace(true, true); d != fastTick || !s.fast.Load() {
		t.Errorf("with an exchange: %v", d)
	}
	for range calmTicks - 1 {
		if d := s.pace(true, false); d != fastTick {
			t.Fatalf("slow too soon: %v", d)
		}
	}
	if d := s.pace(true, false); d != slowTick || s.fast.Load() {
		t.Errorf("only idle connections: %v", d)
	}
	if d := s.pace(false, false); d != 0 {
		t.Errorf("no connections: %v", d)
	}
}

func short(l Limits) option { return config(func(c *Config) { c.Limits = l }) }

func TestLimits_SlowClients(t *testing.T) {
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })},
		short(Limits{Head: time.Second, Idle: time.Second, Body: time.Second, Linger: 100 * time.Millisecond}))
	w.dial().closed() // says nothing
	w.dial().send("GET / HTTP/1.1\r\n").closed()
	c := w.dial()
	c.send(get("/")).expect(200, "")
	c.closed()
	w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na").closed()
	// Slow but steady is fine.
	c = w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n")
	for range 8 {
		time.Sleep(150 * time.Millisecond)
		c.send("x")
	}
	c.expect(200, "")
}

func TestLimits_ClientThatDoesNotRead(t *testing.T) {
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 1<<20)
		for range 64 {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})}, short(Limits{Body: 100 * time.Millisecond}))
	w.dial().send(get("/"))
	if r := w.journal.next(t); r.Error != "client-gone" {
		t.Errorf("record %+v", r)
	}
}

func TestServer_ShutdownFinishesWhatIsOpen(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-finish
		}
	})})
	idle := w.dial()
	idle.send(get("/")).expect(200, "")
	busy := w.dial().send(get("/slow"))
	receive(t, begun)
	w.stop()
	idle.closed()
	if c, err := net.Dial("tcp", w.addr); err == nil {
		c.Close()
		t.Error("still accepting")
	}
	close(finish)
	if resp, _ := busy.expect(200, ""); !resp.Close {
		t.Error("the connection was not announced as closing")
	}
	busy.closed()
}

func TestServer_ShutdownDeadline(t *testing.T) {
	begun, waiting := make(chan struct{}), make(chan struct{})
	app := rawApp(t, func(c *client) { c.head(); close(begun); io.Copy(io.Discard, c.r) })
	w := newWorld(t, []string{app}, config(func(c *Config) {
		c.DrainTimeout = 50 * time.Millisecond
		c.Waiter = waiterFunc(func(ctx context.Context, _ *backend.Pool, _ []string) error {
			close(waiting)
			<-ctx.Done()
			return ctx.Err()
		})
	}))
	busy := w.dial().send(get("/"))
	receive(t, begun)
	w.drainInstances()
	cold := w.dial().send(get("/"))
	receive(t, waiting)
	w.stop()
	if resp, _ := cold.expect(503, "shutting-down"); resp.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
	}
	busy.expect(503, "shutting-down")
}

func TestServer_ShutdownClosesWebSockets(t *testing.T) {
	w, c := wsWorld(t, config(func(c *Config) { c.DrainTimeout = 50 * time.Millisecond }))
	w.stop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("ended by %v, want 1001", err)
	}
}

// TestServer_RecycleFinishesOpenRequests: a draining instance keeps its open
// request and gets no other.
func TestServer_RecycleFinishesOpenRequests(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	old := httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		io.WriteString(w, "old")
	})
	young := httpApp(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "new") })
	w := newWorld(t, []string{old})
	c := w.dial().send(get("/"))
	receive(t, begun)
	w.set.Endpoints[0].Draining = true
	w.set.Endpoints = append(w.set.Endpoints, backend.Endpoint{Instance: "i2", Network: "tcp", Address: young})
	w.apply()
	if _, body := w.dial().send(get("/")).expect(200, ""); body != "new" {
		t.Errorf("body %q", body)
	}
	close(finish)
	if _, body := c.expect(200, ""); body != "old" {
		t.Errorf("body %q", body)
	}
	if _, body := c.send(get("/")).expect(200, ""); body != "new" {
		t.Errorf("body %q", body)
	}
}

// serveOne serves the one connection that it returns the client of, without a
// sweep: a test does what that does.
func (w *world) serveOne() (*conn, *client) {
	s := NewServer(w.cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	w.addr = l.Addr().String()
	peer := w.dial()
	nc, err := l.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	c := s.newConn(&group{sweep: newSweeper(&s.cfg.Limits, s.ms), tls: w.tls}, nc)
	var serving sync.WaitGroup
	serving.Go(c.serve)
	w.t.Cleanup(func() {
		peer.Close()
		serving.Wait()
	})
	return c, peer
}

// observerFunc is an Observer made of a function.
type observerFunc func(*Record)

func (f observerFunc) Exchange(r *Record) { f(r) }

// TestConn_LateVerdictIsNotTheNextRequests: the sweep found an app silent just
// as its answer was delivered.
func TestConn_LateVerdictIsNotTheNextRequests(t *testing.T) {
	served := make(chan *conn, 1)
	w := newWorld(t, []string{rawApp(t, answering(ok))}, config(func(cfg *Config) {
		cfg.Observer = observerFunc(func(*Record) {
			c := <-served
			c.take(c.slot.word.Load(), causeSilent)
			served <- c
		})
	}))
	c, peer := w.serveOne()
	served <- c
	for range 3 {
		peer.send(get("/")).expect(200, "")
	}
}

// TestServer_AnswerIsNotLostToMoreInput: what a client sends beyond a request
// whose answer ends the connection must not have it reset.
func TestServer_AnswerIsNotLostToMoreInput(t *testing.T) {
	w := newWorld(t, []string{untouched(t)})
	c := w.dial()
	c.send("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"+strings.Repeat("x", 100<<10)).expect(405, "method-not-allowed")
	c.CloseWrite()
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestServer_AFaultEndsOneConnection: it takes neither others along nor the claim
// on the instance.
func TestServer_AFaultEndsOneConnection(t *testing.T) {
	warnings := make(chan string, 1)
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) {})}, config(func(c *Config) {
		c.Warn = func(msg string, _ ...any) { warnings <- msg }
		c.Observer = observerFunc(func(r *Record) {
			if string(r.Path) == "/fault" {
				panic("a test's")
			}
		})
	}))
	other, c := w.dial(), w.dial()
	other.send(get("/")).expect(200, "")
	c.send(get("/fault")).expect(200, "")
	c.closed()
	if msg := receive(t, warnings); !strings.Contains(msg, "fault of this program") {
		t.Errorf("warned %q", msg)
	}
	other.send(get("/")).expect(200, "")
	w.inFlight(0)
}
