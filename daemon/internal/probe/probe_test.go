package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
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
func wait(t testing.TB, r *Prober, p app.Process, l app.Launch, timeout time.Duration) (string, error) {
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
