package probe

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestProber_FDIsReadyOnceItAccepts(t *testing.T) {
	r := newProber(t, Config{})
	ln, _ := listener(t, "tcp4", "127.0.0.1:0")
	p := self()
	p.info.Address = ln.Addr().String()
	l := launch(app.ListenFD, nil)

	_, err := wait(t, r, p, l, 50*time.Millisecond)
	if e := startError(t, err); !e.Timeout || !strings.Contains(e.Message, "has not accepted") {
		t.Errorf("%+v, want a timeout for want of an accept", e)
	}

	type result struct {
		address string
		err     error
	}
	done := make(chan result, 1)
	go func() {
		address, err := wait(t, r, p, l, 5*time.Second)
		done <- result{address, err}
	}()
	for { // first the connection of the start that timed out
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		select {
		case got := <-done:
			if got.err != nil || got.address != ln.Addr().String() {
				t.Errorf("got %+v", got)
			}
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func TestProber_FDAppThatClosesWhatItAccepts(t *testing.T) {
	r := newProber(t, Config{})
	ln, _ := listener(t, "tcp4", "127.0.0.1:0")
	p := self()
	p.info.Address = ln.Addr().String()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	if _, err := wait(t, r, p, launch(app.ListenFD, nil), 5*time.Second); err != nil {
		t.Error(err)
	}
}

func TestProber_FDAcceptedByAStranger(t *testing.T) {
	r := newProber(t, Config{})
	ln, _ := listener(t, "tcp4", "127.0.0.1:0")
	pid, _ := startChild(t, "127.0.0.1:0")
	p := &process{info: app.ProcessInfo{PID: pid, UID: os.Getuid(), Address: ln.Addr().String()}}
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1)) // until the probe goes
		}
	}()
	_, err := wait(t, r, p, launch(app.ListenFD, nil), 5*time.Second)
	if e := startError(t, err); e.Step != "listen" || !strings.Contains(e.Message, fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("%+v, want step listen naming this process", e)
	}
}

func TestProber_UnixSocketIsOpenedToTheProxy(t *testing.T) {
	gid := os.Getgid()
	if os.Getuid() == 0 {
		gid = 4711
	}
	r := newProber(t, Config{ProxyGID: gid})
	path := filepath.Join(t.TempDir(), "s")
	p := self()
	p.info.Address = "unix:" + path
	l := launch(app.ListenUnix, nil)

	_, err := wait(t, r, p, l, 20*time.Millisecond)
	if e := startError(t, err); !e.Timeout || !strings.Contains(e.Message, path) {
		t.Errorf("without a socket: %+v", e)
	}

	listener(t, "unix", path)
	got, err := wait(t, r, p, l, 5*time.Second)
	if err != nil || got != "unix:"+path {
		t.Fatalf("got %q, %v", got, err)
	}
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o660 || st.Sys().(*syscall.Stat_t).Gid != uint32(gid) {
		t.Errorf("mode %v of group %d, want 0660 of %d", st.Mode().Perm(), st.Sys().(*syscall.Stat_t).Gid, gid)
	}
	if err := r.Check(t.Context(), p, l, got); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestProber_UnixSocketThroughALinkIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	if err := openTo(path, 0, -1); err == nil {
		t.Error("a link was opened to the proxy")
	}
	if st, err := os.Stat(victim); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the link's target is %v, %v, want 0600", st.Mode(), err)
	}
}

func TestProber_HTTP(t *testing.T) {
	r := newProber(t, Config{})
	var got http.Request
	answers := []int{503, 302, 204}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		got = *q
		status := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	l := launch(app.ListenPort, func(s *app.Spec) {
		s.Routes = []app.Route{{Host: "*.example.com"}, {Host: "shop.example.com"}}
		s.Ready = app.Probe{Kind: app.ProbeHTTP, HTTP: app.HTTPCheck{Path: "/up?x=1", Status: "204", Headers: map[string]string{"X-Probe": "1"}}}
	})
	l.Port = server.Listener.Addr().(*net.TCPAddr).Port
	address, err := wait(t, r, self(), l, 5*time.Second)
	if err != nil || address != server.Listener.Addr().String() {
		t.Fatalf("got %q, %v", address, err)
	}
	if got.Host != "shop.example.com" || got.RequestURI != "/up?x=1" || got.Header.Get("Roost-Token") != l.Token || got.Header.Get("X-Probe") != "1" {
		t.Errorf("host %q, uri %q, header %v", got.Host, got.RequestURI, got.Header)
	}
	if p := got.Header.Values("X-Forwarded-Proto"); len(p) > 0 {
		t.Errorf("X-Forwarded-Proto %q of an app that is served in clear text", p)
	}
	l.Spec.Routes[0].HTTPS = app.HTTPSOnly
	if err := r.Check(t.Context(), self(), l, address); err != nil || got.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("%v, X-Forwarded-Proto %q of an app that is served by TLS", err, got.Header.Get("X-Forwarded-Proto"))
	}
	l.Spec.Ready.HTTP.Headers["X-Forwarded-Proto"] = "http"
	if err := r.Check(t.Context(), self(), l, address); err != nil || got.Header.Get("X-Forwarded-Proto") != "http" {
		t.Errorf("%v, X-Forwarded-Proto %q, want the operator's", err, got.Header.Get("X-Forwarded-Proto"))
	}
	answers = []int{500}
	if err := r.Check(t.Context(), self(), l, address); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("check of a failing app: %v", err)
	}
	_, err = wait(t, r, self(), l, 50*time.Millisecond)
	if e := startError(t, err); !e.Timeout || !strings.Contains(e.Message, "GET /up?x=1 is answered 500") {
		t.Errorf("%+v, want the last answer in it", e)
	}
}

func TestProber_HTTPOverAUnixSocket(t *testing.T) {
	r := newProber(t, Config{ProxyGID: -1})
	path := filepath.Join(t.TempDir(), "s")
	ln, _ := listener(t, "unix", path)
	server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.NotFoundHandler()}}
	server.Start()
	defer server.Close()
	p := self()
	p.info.Address = "unix:" + path
	l := launch(app.ListenUnix, func(s *app.Spec) {
		s.Ready = app.Probe{Kind: app.ProbeHTTP, HTTP: app.HTTPCheck{Status: "404"}}
	})
	if got, err := wait(t, r, p, l, 5*time.Second); err != nil || got != p.info.Address {
		t.Errorf("got %q, %v", got, err)
	}
}
