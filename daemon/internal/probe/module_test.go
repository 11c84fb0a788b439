package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func hosted(server *httptest.Server, change func(*app.Spec)) app.Launch {
	l := launch(app.ListenPort, func(s *app.Spec) {
		s.Preset = app.PresetASPNETCore
		s.Routes = []app.Route{{Host: "shop.example.com", Path: "/Shop"}}
		if change != nil {
			change(s)
		}
	})
	l.PathBase = "/Shop"
	l.Port = server.Listener.Addr().(*net.TCPAddr).Port
	return l
}

func TestRequestShutdown_IsTheModules(t *testing.T) {
	r := newProber(t, Config{})
	requests := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		requests <- q
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	l := hosted(server, nil)
	status, err := r.RequestShutdown(t.Context(), self(), l, server.Listener.Addr().String())
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("%d, %v", status, err)
	}
	q := <-requests
	if q.Method != http.MethodPost || q.RequestURI != "/Shop/iisintegration" || q.Host != "shop.example.com" || q.ContentLength != 0 {
		t.Errorf("%s %s of %s, length %d", q.Method, q.RequestURI, q.Host, q.ContentLength)
	}
	for name, want := range map[string]string{"MS-ASPNETCORE-EVENT": "shutdown", "MS-ASPNETCORE-TOKEN": l.Token, "Roost-Token": l.Token} {
		if got := q.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRequestShutdown_GivesUpWithItsContext(t *testing.T) {
	r := newProber(t, Config{})
	asked, end := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(asked); <-end }))
	defer server.Close()
	defer close(end)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if status, err := r.RequestShutdown(ctx, self(), hosted(server, nil), server.Listener.Addr().String()); err == nil {
		t.Errorf("%d", status)
	}
}

// The token must not go to whoever has the port of an instance that closed it.
func TestRequestShutdown_NobodyElseIsAsked(t *testing.T) {
	r := newProber(t, Config{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a stranger got the token") }))
	defer server.Close()
	pid, _ := startChild(t, "127.0.0.1:0")
	other := &process{info: app.ProcessInfo{PID: pid, UID: self().info.UID}}
	if _, err := r.RequestShutdown(t.Context(), other, hosted(server, nil), server.Listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "no process of the instance listens") {
		t.Errorf("%v", err)
	}
}

func TestProber_HTTPProbeCarriesTheModulesToken(t *testing.T) {
	r := newProber(t, Config{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("MS-ASPNETCORE-TOKEN") == "" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer server.Close()
	ready := func(s *app.Spec) { s.Ready = app.Probe{Kind: app.ProbeHTTP} }
	if _, err := wait(t, r, self(), hosted(server, ready), 5*time.Second); err != nil {
		t.Error(err)
	}
	plain := func(s *app.Spec) { ready(s); s.Preset = "" }
	if _, err := wait(t, r, self(), hosted(server, plain), 100*time.Millisecond); err == nil {
		t.Error("the module's token went to an app without the preset")
	}
}
