package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
)

func newProber(t testing.TB, cfg Config) *Prober {
	t.Helper()
	r := New(cfg)
	t.Cleanup(r.Close)
	return r
}

func listener(t testing.TB, network, address string) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("listen on %s %s: %v", network, address, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return l, a.Port
	}
	return l, 0
}

// wait is WaitReady with a start.timeout.
func wait(t testing.TB, r *Prober, p Process, l app.Launch, timeout time.Duration) (string, error) {
	t.Helper()
	l.Spec.Start.Timeout = &timeout
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return r.WaitReady(ctx, p, l)
}

func startError(t testing.TB, err error) *app.StartError {
	t.Helper()
	e, ok := errors.AsType[*app.StartError](err)
	if !ok {
		t.Fatalf("error %v is no *app.StartError", err)
	}
	return e
}

func TestProber_ReadyWhereTheProxyReachesIt(t *testing.T) {
	r := newProber(t, Config{})
	for _, tt := range []struct{ network, address, want string }{
		{"tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"tcp4", "0.0.0.0:0", "127.0.0.1"},
		{"tcp", "[::]:0", "127.0.0.1"},
		{"tcp6", "[::1]:0", "[::1]"},
		{"tcp6", "[::]:0", "[::1]"}, // Go makes it v6 only
	} {
		t.Run(tt.network+" "+tt.address, func(t *testing.T) {
			_, port := listener(t, tt.network, tt.address)
			l := launch(app.ListenPort, nil)
			l.Port = port
			got, err := wait(t, r, self(), l, 5*time.Second)
			if want := fmt.Sprintf("%s:%d", tt.want, port); err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			if err := r.Check(t.Context(), self(), l, got); err != nil {
				t.Errorf("check: %v", err)
			}
		})
	}
}

// Java binds IPv4 addresses through an IPv6 socket.
func TestProber_ReadyOnAMappedAddress(t *testing.T) {
	r := newProber(t, Config{})
	for _, host := range []string{"::ffff:127.0.0.1", "::ffff:0.0.0.0"} {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skip(err)
		}
		defer func() { _ = unix.Close(fd) }()
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.MustParseAddr(host).As16()}); err != nil {
			t.Skip(err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		l := launch(app.ListenPort, nil)
		l.Port = name.(*unix.SockaddrInet6).Port
		got, err := wait(t, r, self(), l, 5*time.Second)
		if want := fmt.Sprintf("127.0.0.1:%d", l.Port); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", host, got, err, want)
		}
	}
}

func TestProber_StrangerOnThePortIsNamedAtOnce(t *testing.T) {
	r := newProber(t, Config{})
	stranger, address := startChild(t, "127.0.0.1:0")
	l := launch(app.ListenPort, nil)
	l.Port = int(netip.MustParseAddrPort(address).Port())
	_, err := wait(t, r, self(), l, time.Hour)
	e := startError(t, err)
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", stranger))
	if e.Step != "port" || e.Timeout || !strings.Contains(e.Message, fmt.Sprintf("pid %d (%s)", stranger, exe)) {
		t.Errorf("%+v, want step port naming pid %d (%s)", e, stranger, exe)
	}
	owner, busy := r.PortOwner(l.Port)
	if want := fmt.Sprintf("pid %d (%s)", stranger, exe); !busy || owner != want {
		t.Errorf("PortOwner = %q, %v, want %q", owner, busy, want)
	}
}

func TestProber_ASocketOfAnyProcessOfTheInstanceCounts(t *testing.T) {
	r := newProber(t, Config{})
	pid, address := startChild(t, "127.0.0.1:0")
	l := launch(app.ListenPort, nil)
	l.Port = int(netip.MustParseAddrPort(address).Port())

	p := self()
	p.pids = []int{pid}
	if got, err := wait(t, r, p, l, 5*time.Second); err != nil || got != address {
		t.Errorf("by Pids: %q, %v, want %q", got, err, address)
	}

	p = self()
	p.info.Cgroup = t.TempDir()
	if err := os.WriteFile(filepath.Join(p.info.Cgroup, "cgroup.procs"), fmt.Appendf(nil, "0\n%d\n", pid), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := wait(t, r, p, l, 5*time.Second); err != nil || got != address {
		t.Errorf("by cgroup.procs: %q, %v, want %q", got, err, address)
	}
}

func TestProber_WithoutLinksTheUIDStandsIn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become somebody who may not read root's links")
	}
	ln, _ := listener(t, "tcp4", "127.0.0.1:0")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), weakEnv+"="+ln.Addr().String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if want := app.CondWeakOwnerCheck + "\n" + ln.Addr().String() + "\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestProber_TimeoutNamesWhereItListensInstead(t *testing.T) {
	r := newProber(t, Config{})
	pid, address := startChild(t, "127.0.0.1:0")
	l := launch(app.ListenPort, nil)
	l.Port = freePort(t)
	p := &process{info: app.ProcessInfo{PID: pid, UID: os.Getuid()}}
	_, err := wait(t, r, p, l, 100*time.Millisecond)
	e := startError(t, err)
	if !e.Timeout || e.Step != "timeout" || !strings.Contains(e.Message, "listens on "+address+" instead") {
		t.Errorf("%+v, want a timeout naming %s", e, address)
	}
}

func TestProber_OutOfReachFailsSoon(t *testing.T) {
	r := newProber(t, Config{})
	pid, address := startChild(t, "127.0.0.2:0")
	l := launch(app.ListenPort, nil)
	l.Port = int(netip.MustParseAddrPort(address).Port())
	p := &process{info: app.ProcessInfo{PID: pid, UID: os.Getuid()}}
	_, err := wait(t, r, p, l, 5*time.Second) // grace: 250 ms
	e := startError(t, err)
	if e.Timeout || e.Step != "listen" || !strings.Contains(e.Message, address) {
		t.Errorf("%+v, want step listen naming %s", e, address)
	}
}

func TestProber_CancelIsNoTimeout(t *testing.T) {
	r := newProber(t, Config{})
	l := launch(app.ListenPort, nil)
	l.Port = freePort(t)
	cause := errors.New("superseded")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := r.WaitReady(ctx, self(), l)
	if e := startError(t, err); e.Timeout || !errors.Is(err, cause) {
		t.Errorf("%+v, want the cause and no timeout", e)
	}
}

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

func TestProber_CheckFindsTheSocketGone(t *testing.T) {
	r := newProber(t, Config{})
	ln, port := listener(t, "tcp4", "127.0.0.1:0")
	l := launch(app.ListenPort, nil)
	l.Port = port
	if err := r.Check(t.Context(), self(), l, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := r.Check(t.Context(), self(), l, ln.Addr().String()); err == nil {
		t.Error("no error though nothing listens")
	}
}

// freePort returns a port that nothing listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func BenchmarkWaitReady_Port(b *testing.B) {
	r := newProber(b, Config{})
	_, port := listener(b, "tcp4", "127.0.0.1:0")
	l := launch(app.ListenPort, nil)
	l.Port = port
	p := self()
	for b.Loop() {
		if _, err := r.WaitReady(b.Context(), p, l); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTry_NothingListens(b *testing.B) {
	r := newProber(b, Config{})
	l := launch(app.ListenPort, nil)
	l.Port = freePort(b)
	s := &listening{target: r.newTarget(self(), l), looked: time.Now().Add(time.Hour)}
	for b.Loop() {
		if done, err := s.try(b.Context()); done || err != nil {
			b.Fatal(done, err)
		}
	}
}

// What the accept check costs an app that accepts at once.
func BenchmarkWaitReady_FD(b *testing.B) {
	r := newProber(b, Config{})
	ln, _ := listener(b, "tcp4", "127.0.0.1:0")
	p := self()
	p.info.Address = ln.Addr().String()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}()
		}
	}()
	l := launch(app.ListenFD, nil)
	for b.Loop() {
		if _, err := r.WaitReady(b.Context(), p, l); err != nil {
			b.Fatal(err)
		}
	}
}
