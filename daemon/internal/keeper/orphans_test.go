package keeper

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/keeper/tree"
	"github.com/roostd/roost/daemon/internal/watch"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// vanished launches an app that leaves a process which bears no sign of it.
func (f *fixture) vanished(name string) (p *Process, pid string) {
	f.tb.Helper()
	file := filepath.Join(f.tb.TempDir(), "pids")
	p = f.launch(f.spec(name + ":" + file))
	pids := f.pids(file)
	if len(pids) != 1 {
		f.tb.Fatalf("pids %q, want one", pids)
	}
	return p, pids[0]
}

// unnamed launches an app that leaves a process which the keeper cannot tell whose it
// is, as another instance lives. One that it happens to see before it has come away
// from its parent is known to it.
func (f *fixture) unnamed() (p *Process, pid string) {
	f.tb.Helper()
	for {
		p, pid = f.vanished("vanish")
		owner, err := f.client.Owner(f.tb.Context(), atoi(pid))
		if err != nil {
			f.tb.Fatal(err)
		}
		if owner == "" {
			return p, pid
		}
		if err := p.Kill(f.tb.Context()); err != nil {
			f.tb.Fatal(err)
		}
	}
}

func atoi(pid string) int {
	n, _ := strconv.Atoi(pid)
	return n
}

func TestLanes_ScanKillsWhatTheOnlyInstanceLeft(t *testing.T) {
	f := newFixture(t, tree.LaneScan)
	p, pid := f.vanished("vanish")
	n := atoi(pid)
	if members, err := p.Pids(t.Context()); err != nil || !slices.Contains(members, n) {
		t.Errorf("members %v, %v, want %s among them", members, err, pid)
	}
	if id, err := f.client.Owner(t.Context(), n); id != p.id || err != nil {
		t.Errorf("owner %q, %v, want %q", id, err, p.id)
	}
	if err := p.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.wait(p.Gone())
	if runs(pid) {
		t.Errorf("pid %s outlived its instance", pid)
	}

	p, pid = f.vanished("vanish-exit")
	f.wait(p.Gone())
	if runs(pid) {
		t.Errorf("pid %s outlived an instance whose leader ended at once", pid)
	}

	p, pid = f.vanished("vanish")
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if runs(pid) {
		t.Errorf("pid %s is left when Kill returned", pid)
	}
}

// What one of two may have left is nobody's to kill before both have ended, and
// gone with the last.
func TestLanes_ScanKillsUnnamedOrphansWithTheLastOfTheirUser(t *testing.T) {
	f := newFixture(t, tree.LaneScan)
	other := f.launch(f.spec("stubborn"))
	p, pid := f.unnamed()
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !runs(pid) {
		t.Fatalf("pid %s was killed though an instance lives that it may belong to", pid)
	}
	if err := other.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if runs(pid) {
		t.Errorf("pid %s outlived the last instance of its user", pid)
	}

	// Both at once: whichever is the last must see that.
	a, first := f.vanished("vanish")
	b, second := f.vanished("vanish")
	for _, p := range []*Process{a, b} {
		if err := p.Signal(t.Context(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	f.wait(a.Gone())
	f.wait(b.Gone())
	if runs(first) || runs(second) {
		t.Errorf("pids %s and %s: one outlived both instances", first, second)
	}
}

func TestLanes_ScanTellsOfUnnamedOrphans(t *testing.T) {
	f := newFixture(t, tree.LaneScan)
	f.stop()
	type told struct {
		pid, uid int
		killed   bool
	}
	heard := make(chan told, 10)
	f.orphan = func(pid, uid int, killed bool) { heard <- told{pid, uid, killed} }
	f.connect()
	f.launch(f.spec("stubborn"))
	_, pid := f.unnamed()
	n := atoi(pid)
	select {
	case got := <-heard:
		if want := (told{n, os.Geteuid(), false}); got != want {
			t.Errorf("heard %+v, want %+v", got, want)
		}
	case <-time.After(20 * time.Second):
		f.fail()
	}
}

func TestLanes_ScanKeeperEndsWithoutChildren(t *testing.T) {
	f := &fixture{tb: t, keeper: newConfig(t, tree.LaneScan)}
	f.state = f.keeper.StateDir
	ended := make(chan error, 1)
	go func() { ended <- Run(context.Background(), f.keeper) }()
	f.await(func() bool { return try(t.Context(), socketPath(f.state)) == nil })
	stop := f.connect()
	_, first := f.vanished("vanish")
	_, second := f.vanished("vanish")
	if err := f.client.Shutdown(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if runs(first) || runs(second) {
		t.Errorf("pid %s or %s is left when Shutdown has answered", first, second)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := os.Lstat(socketPath(f.state)); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// The keeper's end alone kills what came down to it, whoever's it is.
func TestServer_KillsItsChildren(t *testing.T) {
	f := newFixture(t, tree.LaneScan)
	other := f.launch(f.spec("stubborn"))
	p, pid := f.unnamed()
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &server{cfg: f.keeper, orphans: watch.NewHub[int, *keeperv1.Orphan]()}
	s.killChildren(t.Context()) // the fixture's keeper is this process
	f.wait(other.Gone())
	if runs(pid) {
		t.Errorf("pid %s is left", pid)
	}
	if o, _ := s.orphans.Get(atoi(pid)); !o.GetKilled() {
		t.Errorf("nobody is told that pid %s was killed", pid)
	}
}

func TestProcess_ExecSaysWhatTookTooLong(t *testing.T) {
	f := newFixture(t, "")
	p := f.launch(f.spec("sleep"))
	const timeout = 300 * time.Millisecond
	argv := []string{"sh", "-c", "echo slow; exec sleep 1000"}
	ctx, cancel := context.WithTimeout(t.Context(), timeout) // as a caller does that gives both
	defer cancel()
	if err := p.Exec(ctx, argv, timeout); err == nil || !strings.Contains(err.Error(), "sh did not end within 300ms: slow") {
		t.Errorf("with a deadline of its own: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := p.Exec(ctx, argv, time.Minute); err == nil || !strings.Contains(err.Error(), "sh did not end within ") {
		t.Errorf("with an earlier deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(timeout, cancel)
	if err := p.Exec(ctx, argv, time.Minute); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("one that was given up: %v", err)
	}
}
