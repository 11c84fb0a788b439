package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestDaemon_DeathCostsNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		signal syscall.Signal
		args   []string
	}{
		"SIGKILL":                     {syscall.SIGKILL, nil},
		"SIGTERM with detach-on-exit": {syscall.SIGTERM, []string{"--detach-on-exit"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, tt.args...)
			specs := []*roostv1.AppSpec{h.spec("one"), h.spec("two")}
			specs[1].Instances = new(int32(2))
			h.apply(specs...)
			for _, s := range specs {
				h.get(s.Name, "/").wants(t, http.StatusOK)
			}
			h.eventually("all are ready", func() bool { return h.app("two").Ready == 2 })
			before := append(h.pids("one"), h.pids("two")...)

			one, two := startLoad(h, "one", 10, 200, true), startLoad(h, "two", 10, 200, true)
			for range 3 {
				n := one.total()
				h.daemon.end(tt.signal)
				h.eventually("requests are served without a daemon", func() bool { return one.total() > n+50 })
				h.startDaemon() // without the flag, so that the test's end stops everything
				h.eventually("the daemon knows them again", func() bool {
					return h.app("one").Ready == 1 && h.app("two").Ready == 2
				})
				if after := append(h.pids("one"), h.pids("two")...); !slices.Equal(before, after) {
					t.Fatalf("pids %v became %v", before, after)
				}
				if len(tt.args) > 0 {
					h.daemon.end(syscall.SIGKILL)
					h.startDaemon(tt.args...)
				}
			}
			for _, l := range []*load{one, two} {
				l.end(t)
				if l.dials != 10 {
					t.Errorf("%d connections dialled by 10 clients: some were dropped", l.dials)
				}
			}
			if len(tt.args) > 0 { // detached apps outlive their daemon: end them as the packaged unit's owner would
				if _, err := h.system.Shutdown(t.Context(), &roostv1.ShutdownRequest{}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestKeeper_DeathCostsNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	two := h.spec("two")
	two.Instances = new(int32(2))
	h.apply(h.spec("one"), two)
	for _, name := range []string{"one", "two"} {
		h.get(name, "/").wants(t, http.StatusOK)
	}
	h.eventually("all are ready", func() bool { return h.app("two").Ready == 2 })
	before := append(h.pids("one"), h.pids("two")...)
	loads := []*load{startLoad(h, "one", 10, 200, true), startLoad(h, "two", 10, 200, true)}
	for range 3 {
		n := loads[0].total()
		h.nextKeeper(h.killKeeper())
		h.eventually("requests are served", func() bool { return loads[0].total() > n+50 })
		if after := append(h.pids("one"), h.pids("two")...); !slices.Equal(before, after) {
			t.Fatalf("pids %v became %v", before, after)
		}
	}
	for _, l := range loads {
		l.end(t)
		if l.dials != 10 {
			t.Errorf("%d connections dialled by 10 clients: some were dropped", l.dials)
		}
	}
	// The new keeper is as good a parent as the one that started them.
	h.stop("two")
	if left := h.inFolder("two"); len(left) > 0 {
		t.Errorf("processes of two left: %v", left)
	}
	pid := h.pids("one")[0]
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.eventually("a crash is noticed and mended", func() bool {
		pids := h.pids("one")
		return len(pids) == 1 && pids[0] != pid && h.app("one").Ready == 1
	})
}

// keeper is the pid of the host's keeper.
func (h *host) keeper() (pid int, ok bool) {
	info, err := h.system.GetInfo(h.Context(), &roostv1.GetInfoRequest{})
	if err != nil {
		return 0, false
	}
	if pid = int(info.GetKeeperPid()); pid != 0 { // 0: it has none just now
		h.keeperPID = pid
	}
	return pid, pid != 0
}

// killKeeper kills the keeper that the daemon has, or had last, and waits for its end.
func (h *host) killKeeper() (pid int) {
	h.Helper()
	h.keeper()
	if pid = h.keeperPID; pid == 0 { // a signal to 0 is one to the tests themselves
		h.Fatal("there is no keeper to kill")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.Fatalf("keeper %d: %v", pid, err)
	}
	return pid
}

func (h *host) nextKeeper(old int) {
	h.Helper()
	h.eventually("there is another keeper", func() bool { pid, ok := h.keeper(); return ok && pid != old })
}

func TestDaemon_SIGTERMDrainsAndStopsEverything(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"), h.spec("deaf", "-tree", "2"))
	h.get("web", "/").wants(t, http.StatusOK)
	h.get("deaf", "/").wants(t, http.StatusOK)
	long := make(chan reply, 1)
	go func() { long <- h.get("web", "/sleep?for=2s") }()
	h.eventually("the app has the long request", func() bool { return h.get("web", "/came").body == "1\n" })
	h.daemon.end(syscall.SIGTERM)
	if h.daemon.err != nil {
		t.Errorf("roostd: %v, want exit 0", h.daemon.err)
	}
	if r := (<-long).wants(t, http.StatusOK); r.body != "xxxxxxxxxx" {
		t.Errorf("the open request was cut: %v", r)
	}
	for _, name := range []string{"web", "deaf"} {
		if left := h.inFolder(name); len(left) > 0 {
			t.Errorf("processes of %s left: %v", name, left)
		}
	}
	r := h.get("web", "/").wants(t, http.StatusServiceUnavailable)
	if got := r.header.Get("Roost-Error"); got != "daemon-unreachable" {
		t.Errorf("Roost-Error %q, want daemon-unreachable", got)
	}
	h.startDaemon()
	h.get("web", "/").wants(t, http.StatusOK) // desired states are unchanged
}

func TestProxy_ServesWithoutADaemonFromItsSnapshot(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(t, http.StatusOK)
	address := h.live("web")[0].Address
	h.eventually("the snapshot is on disk", func() bool {
		b, err := os.ReadFile(filepath.Join(h.dir, "proxy", "snapshot.json"))
		return err == nil && contains(string(b), address)
	})
	h.daemon.end(syscall.SIGKILL)
	h.proxy.end(syscall.SIGKILL)
	h.startProxy(h.url)
	h.get("web", "/").wants(t, http.StatusOK)
	h.startDaemon()
}

func TestProxy_SecondOneIsRefusedUntilTheFirstDrains(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	another := func() *program {
		return start(t, "roost-proxy", "--listen", "127.0.0.1:0", "--daemon", "unix://"+h.socket, "--state-dir", filepath.Join(h.dir, "proxy"))
	}
	second := another()
	<-second.exited
	if pid := strconv.Itoa(h.proxy.pid()); second.cmd.ProcessState.ExitCode() != 1 || !contains(second.output(), "pid "+pid) {
		t.Errorf("exit %d, and it says nothing of pid %s:\n%s", second.cmd.ProcessState.ExitCode(), pid, second.output())
	}

	open := h.wire()
	open.send(t, "GET /sse HTTP/1.1\nHost: web.test\n\n")
	open.status(t)
	h.proxy.signal(syscall.SIGTERM)
	h.eventually("it takes no connections any more", func() bool {
		c, err := net.Dial("tcp", h.url)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	var successor *program
	h.eventually("another may serve", func() bool {
		if successor == nil || closed(successor.exited) {
			successor = another()
			h.endFirst(successor)
		}
		successor.mu.Lock()
		defer successor.mu.Unlock()
		return successor.listen["http"] != ""
	})
	open.close()
	<-h.proxy.exited
}

func TestDaemon_SecondOneIsRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	second := start(t, "roostd", "--socket", h.dir+"/run/other.sock", "--state-dir", h.dir+"/state")
	<-second.exited
	if code := second.cmd.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("exit code %d, want 1", code)
	}
	if !contains(second.output(), itoa(int32(h.daemon.pid()))) {
		t.Fatalf("it does not name the pid %d:\n%s", h.daemon.pid(), second.output())
	}
}
