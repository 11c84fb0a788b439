package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
	"github.com/roostd/roost/proxy/internal/certs"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
	"github.com/roostd/roost/proxy/internal/observe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a proxy as run starts it, with what is around it.
type host struct {
	*testing.T
	dir string
	// patience of the proxy; 0 is plenty.
	patience time.Duration
	// drain of the proxy; 0 is plenty.
	drain time.Duration
	// certs is a folder of certificates, to serve TLS too.
	certs  string
	url    string
	https  string // host:port
	access syncBuffer
	// stop ends the proxy and returns what run did.
	stop func() error
}

// syncBuffer may be written and read at the same time.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newHost(t *testing.T) *host { return &host{T: t, dir: t.TempDir()} }

func (h *host) socket() string { return filepath.Join(h.dir, "roostd.sock") }

// serve has d listen at the socket until the function that it returns is called.
func (h *host) serve(d *fakedaemon.Daemon) (stop func()) {
	h.Helper()
	l, err := net.Listen("unix", h.socket())
	if err != nil {
		h.Fatal(err)
	}
	s := grpc.NewServer(rpc.ServerOptions()...)
	d.Register(s)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	stop = sync.OnceFunc(func() {
		s.Stop()
		<-served
	})
	h.Cleanup(stop)
	return stop
}

// start runs a proxy; it is up when start returns.
func (h *host) start() {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	logs := newLogReader()
	c := config{
		listen: []string{"127.0.0.1:0"}, daemon: "unix://" + h.socket(), stateDir: filepath.Join(h.dir, "state"),
		drainTimeout: cmp.Or(h.drain, time.Minute), accessLog: "-", accessLogFormat: observe.JSON, stdout: &h.access, version: "v1",
		patience: cmp.Or(h.patience, time.Minute),
		log:      hclog.New(&hclog.LoggerOptions{JSONFormat: true, Level: hclog.Debug, Output: logs}),
	}
	if h.certs != "" {
		c.listenTLS, c.certDir, c.clientAuth = []string{"127.0.0.1:0"}, h.certs, certs.Request
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, c) }()
	var once sync.Once
	var result error
	h.stop = func() error {
		once.Do(func() {
			cancel()
			result = <-ended
		})
		return result
	}
	stop := h.stop
	h.Cleanup(func() {
		if err := stop(); err != nil {
			h.Errorf("run = %v", err)
		}
	})
	select {
	case address := <-logs.listening:
		h.url = "http://" + address
	case err := <-ended:
		h.Fatalf("run = %v", err)
	}
	if h.certs != "" {
		h.https = <-logs.secure
	}
}

// logReader finds the address in the log.
type logReader struct{ listening, secure chan string }

func newLogReader() *logReader { return &logReader{make(chan string, 1), make(chan string, 1)} }

func (l *logReader) Write(p []byte) (int, error) {
	var line struct {
		Message  string `json:"@message"`
		Listener string
		Address  string
	}
	if json.Unmarshal(p, &line) == nil && line.Message == "listening" {
		map[string]chan string{"http": l.listening, "https": l.secure}[line.Listener] <- line.Address
	}
	return len(p), nil
}

// get makes a request to an app.
func (h *host) get(app, path string) (*http.Response, string) {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), http.MethodGet, h.url+path, nil)
	if err != nil {
		h.Fatal(err)
	}
	r.Host = app
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	return resp, string(body)
}

func (h *host) want(app string, status int, code, body string) *http.Response {
	h.Helper()
	resp, got := h.get(app, "/x")
	if resp.StatusCode != status || resp.Header.Get("Roost-Error") != code || code == "" && got != body {
		h.Errorf("%s: %d %q %q, want %d %q %q", app, resp.StatusCode, resp.Header.Get("Roost-Error"), got, status, code, body)
	}
	return resp
}

// instance is an app's process that answers with text; it returns the set of the
// app with only that.
func (h *host) instance(app, id string, revision uint64, f http.HandlerFunc) *roostv1.EndpointSet {
	s := httptest.NewServer(f)
	h.Cleanup(s.Close)
	set := cold(app, revision)
	set.Endpoints = []*roostv1.Endpoint{{Instance: id, Address: s.Listener.Addr().String(), Token: "t-" + id}}
	return set
}

func cold(app string, revision uint64) *roostv1.EndpointSet {
	return &roostv1.EndpointSet{App: app, Revision: revision, Routes: []*roostv1.Route{{Host: app, Path: "/"}}}
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// await waits until ok, which asks something else that takes its time.
func (h *host) await(ok func() bool) {
	h.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			h.Fatal("waited in vain")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// load waits for the report of an app that ok accepts.
func (h *host) load(d *fakedaemon.Daemon, ok func(*roostv1.AppLoad) bool) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 10*time.Second)
	defer cancel()
	m, _ := d.Await(ctx, 0, func(m *roostv1.ReportRequest) bool {
		return slices.ContainsFunc(m.GetLoad().GetLoads(), ok)
	})
	if m == nil {
		h.Fatalf("no such report in %v", d.Reports())
	}
}
