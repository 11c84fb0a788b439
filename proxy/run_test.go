package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
	"github.com/roostd/roost/proxy/internal/observe"
)

func TestRun_ServesAnAppAndLogsIt(t *testing.T) {
	h := newHost(t)
	h.serve(fakedaemon.New(1, h.instance("shop", "i1", 1, says("hello"))))
	h.start()
	h.want("shop", 200, "", "hello")
	h.want("stranger", 404, "no-route", "")
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(h.access.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"app":"shop","instance":"i1"`) || !strings.Contains(lines[1], `"error":"no-route"`) {
		t.Errorf("access log %q", lines)
	}
}

func TestRun_ColdRequestsShareOneStart(t *testing.T) {
	h := newHost(t)
	d := fakedaemon.New(1, cold("shop", 1))
	ready := h.instance("shop", "i1", 2, says("hello"))
	ready.Epoch = 1
	waiting := make(chan struct{})
	d.OnActivate = func(context.Context, *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
		<-waiting
		return &roostv1.ActivateResponse{Set: ready}, nil
	}
	h.serve(d)
	h.start()
	const n = 50
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { h.want("shop", 200, "", "hello") })
	}
	d.Await(t.Context(), 0, func(m *roostv1.ReportRequest) bool {
		for _, l := range m.GetLoad().GetLoads() {
			if l.GetQueued() == n {
				return true
			}
		}
		return false
	})
	close(waiting)
	wg.Wait()
	if asked := d.Asked(); len(asked) != 1 || asked[0].GetApp() != "shop" {
		t.Errorf("asked %v, want once", asked)
	}
}

func TestRun_FailedStartIsToldAndKept(t *testing.T) {
	h := newHost(t)
	d := fakedaemon.New(1, cold("shop", 1))
	d.OnActivate = func(context.Context, *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
		return nil, fakedaemon.Refusal(codes.Unavailable, "START_FAILED", time.Minute, map[string]string{"epoch": "1", "revision": "1"})
	}
	h.serve(d)
	h.start()
	for range 3 {
		if after := h.want("shop", 502, "start-failed", "").Header.Get("Retry-After"); after == "" {
			t.Error("no Retry-After")
		}
	}
	if n := len(d.Asked()); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	// An operator's start.
	d.Publish(h.instance("shop", "i1", 2, says("hello")))
	h.await(func() bool { resp, _ := h.get("shop", "/"); return resp.StatusCode == http.StatusOK })
}

func TestRun_DrainIsAcknowledgedWhenItIsOver(t *testing.T) {
	h := newHost(t)
	arrived, finish := make(chan struct{}), make(chan struct{})
	old := h.instance("shop", "old", 1, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		_, _ = io.WriteString(w, "late")
	})
	d := fakedaemon.New(1, old)
	h.serve(d)
	h.start()
	var wg sync.WaitGroup
	wg.Go(func() { h.want("shop", 200, "", "late") })
	<-arrived

	next := h.instance("shop", "new", 2, says("hello"))
	next.Endpoints = append(next.Endpoints, &roostv1.Endpoint{Instance: "old", Address: old.Endpoints[0].Address, Draining: true})
	d.Publish(next)
	h.load(d, func(l *roostv1.AppLoad) bool { return l.GetRevision() == 2 && l.GetInFlight() == 1 })
	h.want("shop", 200, "", "hello")
	close(finish)
	wg.Wait()
	h.load(d, func(l *roostv1.AppLoad) bool { return l.GetRevision() == 2 && l.GetInFlight() == 0 })
}

func TestRun_ServesWithoutTheDaemon(t *testing.T) {
	h := newHost(t)
	stop := h.serve(fakedaemon.New(1, h.instance("shop", "i1", 1, says("hello"))))
	h.start()
	h.want("shop", 200, "", "hello")
	stop()
	h.want("shop", 200, "", "hello")

	// Not even a new proxy needs it.
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.want("shop", 200, "", "hello")

	// A daemon that is started again knows better.
	h.serve(fakedaemon.New(2, h.instance("shop", "i2", 1, says("hello again"))))
	h.await(func() bool { _, body := h.get("shop", "/"); return body == "hello again" })
}

func TestRun_EndFinishesWhatIsOpenAndSaysGoodbye(t *testing.T) {
	h := newHost(t)
	arrived, finish := make(chan struct{}), make(chan struct{})
	d := fakedaemon.New(1, h.instance("shop", "i1", 1, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		_, _ = io.WriteString(w, "late")
	}))
	h.serve(d)
	h.start()

	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	<-arrived
	ended := make(chan error)
	go func() { ended <- h.stop() }()
	h.await(func() bool {
		c, err := net.Dial("tcp", conn.RemoteAddr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for _, m := range d.Reports() {
		if m.GetGoodbye() != nil {
			t.Error("goodbye while a request is open")
		}
	}
	close(finish)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "late" || !resp.Close {
		t.Errorf("%q, close %v; want the late answer with Connection: close", body, resp.Close)
	}
	if err := <-ended; err != nil {
		t.Errorf("run = %v", err)
	}
	reports := d.Reports()
	if reports[len(reports)-1].GetGoodbye() == nil {
		t.Error("no goodbye")
	}
}

func TestRun_RequestThatWaitsPastTheDrainIsToldSo(t *testing.T) {
	h := newHost(t)
	h.drain = 50 * time.Millisecond
	d := fakedaemon.New(1, cold("shop", 1))
	asked := make(chan struct{})
	d.OnActivate = func(ctx context.Context, _ *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	h.serve(d)
	h.start()
	var wg sync.WaitGroup
	wg.Go(func() { h.want("shop", 503, "shutting-down", "") })
	<-asked
	if err := h.stop(); err != nil {
		t.Errorf("run = %v", err)
	}
	wg.Wait()
}

func TestRun_Faults(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	good := func() config {
		return config{
			listen: []string{"127.0.0.1:0"}, daemon: "unix:///nowhere", stateDir: t.TempDir(), accessLog: "off", log: hclog.NewNullLogger(),
		}
	}
	for says, change := range map[string]func(*config){
		busy.Addr().String(): func(c *config) { c.listen = append(c.listen, busy.Addr().String()) },
		"state directory":    func(c *config) { c.stateDir = "/dev/null/x" },
		"daemon address":     func(c *config) { c.daemon = "localhost" },
		"access log":         func(c *config) { c.accessLog, c.accessLogFormat = "/dev/null/x", observe.JSON },
	} {
		c := good()
		change(&c)
		if err := run(t.Context(), c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("run = %v, want it to say %q", err, says)
		}
	}
}

func TestRun_RequestsWaitUntilTheAppsAreKnown(t *testing.T) {
	h := newHost(t)
	d := fakedaemon.New(1, h.instance("shop", "i1", 1, says("hello")))
	d.Hold()
	h.serve(d)
	h.start()
	var wg sync.WaitGroup
	wg.Go(func() { h.want("shop", 200, "", "hello") })
	d.Await(t.Context(), 0, func(m *roostv1.ReportRequest) bool { return m.GetHello() != nil })
	d.Release()
	wg.Wait()
}

func TestRun_WithoutRoutesNothingIsSaidToBeMissing(t *testing.T) {
	h := newHost(t)
	h.patience = time.Millisecond
	h.start()
	h.want("shop", 503, "daemon-unreachable", "")
	h.serve(fakedaemon.New(1))
	h.await(func() bool { resp, _ := h.get("shop", "/"); return resp.StatusCode == http.StatusNotFound })
}

func TestRun_FailedInstanceIsNamedAndReported(t *testing.T) {
	h := newHost(t)
	// Nothing listens there any more.
	gone := httptest.NewServer(nil)
	address := gone.Listener.Addr().String()
	gone.Close()
	dead := cold("shop", 1)
	dead.Endpoints = []*roostv1.Endpoint{{Instance: "dead", Address: address}}
	d := fakedaemon.New(1, dead)
	ready := h.instance("shop", "next", 2, says("hello"))
	ready.Epoch = 1
	d.OnActivate = func(context.Context, *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
		return &roostv1.ActivateResponse{Set: ready}, nil
	}
	h.serve(d)
	h.start()
	h.want("shop", 200, "", "hello")
	if asked := d.Asked(); len(asked) != 1 || !slices.Equal(asked[0].GetFailedInstances(), []string{"dead"}) {
		t.Errorf("asked %v, want once, naming the dead instance", asked)
	}
	m, _ := d.Await(t.Context(), 0, func(m *roostv1.ReportRequest) bool { return m.GetFailure() != nil })
	f := m.GetFailure()
	if f.GetApp() != "shop" || f.GetInstance() != "dead" || f.GetKind() != roostv1.FailureKind_FAILURE_KIND_REFUSED {
		t.Errorf("reported %v", f)
	}
}

// TestListen_ConnectionsHaveKeepAlive: they inherit it, so that a client that
// vanished while it was owed nothing is noticed.
func TestListen_ConnectionsHaveKeepAlive(t *testing.T) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		on, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		idle, _ := unix.GetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_KEEPIDLE)
		if on != 1 || idle != keepAliveIdle {
			t.Errorf("keep-alive %d, after %d s", on, idle)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRun_EndsWhileItWaitsForTheDaemon(t *testing.T) {
	h := newHost(t)
	h.start() // no daemon, no snapshot: it has not begun to serve
	if err := h.stop(); err != nil {
		t.Errorf("run = %v", err)
	}
}
