package keeper

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/keepertest"
	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

// killKeeper kills the keeper and keeps the next one out until allow is called.
func (f *fixture) killKeeper() (allow func()) {
	f.tb.Helper()
	f.await(f.holdsAll)
	old := f.keeperPID()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		f.tb.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(f.state, "keeper.lock"), os.O_RDWR, 0)
	if err != nil {
		f.tb.Fatal(err)
	}
	f.tb.Cleanup(func() { lock.Close() })
	// The dead one's lock is free once the kernel has torn it down. Where the next
	// keeper was faster, it goes too.
	f.await(func() bool {
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			return true
		}
		if info, ok := f.client.Keeper(); ok && info.PID != old {
			old = info.PID
			_ = syscall.Kill(old, syscall.SIGKILL)
		}
		return false
	})
	f.await(func() bool { return !runs(strconv.Itoa(old)) })
	return func() { lock.Close() }
}

// holdsAll tells whether the client holds every instance that is there.
func (f *fixture) holdsAll() bool {
	f.client.mu.Lock()
	defer f.client.mu.Unlock()
	for _, p := range f.client.processes {
		p.mu.Lock()
		held := p.held != nil || isClosed(p.gone)
		p.mu.Unlock()
		if !held {
			return false
		}
	}
	return true
}

// nextKeeper waits for a keeper other than the one with the given pid.
func (f *fixture) nextKeeper(old int) {
	f.tb.Helper()
	f.await(func() bool { info, ok := f.client.Keeper(); return ok && info.PID != old })
}

// A keeper that is killed takes nothing along: the next one takes over all it had,
// can ask it, end it with all its children, and knows how it ended.
func TestAdopt_InstancesGoOnWithTheNextKeeper(t *testing.T) {
	for _, lane := range []string{"", tree.LaneScan} {
		t.Run("lane "+lane, func(t *testing.T) {
			f := newOutsideFixture(t, lane)
			file := filepath.Join(t.TempDir(), "pids")
			p, other := f.launch(f.spec("escape:"+file)), f.launch(f.spec("term:7:bye\n"))
			f.started(other)
			pids := append(f.pids(file), strconv.Itoa(p.Info().PID))
			old := f.keeperPID()
			f.killKeeper()()
			f.nextKeeper(old)
			for _, pid := range pids {
				if !runs(pid) {
					t.Errorf("pid %s did not live on", pid)
				}
			}
			if isClosed(p.Exited()) || isClosed(other.Exited()) {
				t.Errorf("ended: %+v, %+v", p.Exit(), other.Exit())
			}
			if err := other.Exec(t.Context(), []string{"sh", "-c", `test "$ROOST_APP" = web && pwd >&2 && exit 3`}, time.Minute); err == nil || !strings.Contains(err.Error(), "code 3") {
				t.Errorf("a probe beside it: %v, want its exit code 3", err)
			}
			if err := other.Signal(t.Context(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			f.wait(other.Gone())
			if e := other.Exit(); e.Unknown || e.Code != 7 {
				t.Errorf("exit %+v, want code 7", e)
			}
			if got := f.output(other, "stdout"); got != "started\nbye\n" {
				t.Errorf("output %q", got)
			}
			if err := p.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.wait(p.Gone())
			if e := p.Exit(); e.Unknown || e.Signal != syscall.SIGKILL {
				t.Errorf("exit %+v, want SIGKILL", e)
			}
			for _, pid := range pids {
				if runs(pid) {
					t.Errorf("pid %s is left", pid)
				}
			}
			next := f.launch(f.spec("exit:0"))
			f.wait(next.Gone())
			for _, p := range []*Process{p, other, next} {
				if err := p.Forget(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Output is saved though somebody has removed its folder while there was no keeper:
// an app whose output nobody takes would wait for ever.
func TestAdopt_SavesOutputWhoseFolderIsGone(t *testing.T) {
	f := newOutsideFixture(t, "")
	p := f.launch(f.spec("term:7:bye\n"))
	f.started(p)
	old := f.keeperPID()
	allow := f.killKeeper()
	if err := os.RemoveAll(f.keeper.LogDir); err != nil {
		t.Fatal(err)
	}
	allow()
	f.nextKeeper(old)
	if err := p.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.wait(p.Gone())
	if got := f.output(p, "stdout"); got != "bye\n" {
		t.Errorf("output %q, want what came since", got)
	}
}

// What ends while there is no keeper is not lost: the daemon holds its output and
// its exit.
func TestAdopt_EndsThatNoKeeperSaw(t *testing.T) {
	f := newOutsideFixture(t, "")
	plain := f.spec("")
	plain.Spec.Command = []string{"/bin/sleep", "1000"} // Go would make an exit code of SIGSEGV
	exits, crashes := f.launch(f.spec("term:7:last words\n")), f.launch(plain)
	f.started(exits)
	allow := f.killKeeper()
	for p, sig := range map[*Process]syscall.Signal{exits: syscall.SIGTERM, crashes: syscall.SIGSEGV} {
		if err := syscall.Kill(p.Info().PID, sig); err != nil {
			t.Fatal(err)
		}
		f.await(func() bool { return !runs(strconv.Itoa(p.Info().PID)) })
	}
	allow()
	f.wait(exits.Gone())
	f.wait(crashes.Gone())
	if got := f.output(exits, "stdout") + f.output(exits, "stderr"); got != "started\nlast words\nLAST WORDS\n" {
		t.Errorf("output %q", got)
	}
	if e := exits.Exit(); !e.Unknown && e.Code != 7 || e.Unknown && tellsOfReaped(t) {
		t.Errorf("exit %+v, want code 7", e)
	}
	if e := crashes.Exit(); !e.Unknown && e.Signal != syscall.SIGSEGV || e.Unknown && tellsOfReaped(t) {
		t.Errorf("exit %+v, want SIGSEGV", e)
	}
	for _, p := range []*Process{exits, crashes} {
		f.await(func() bool { _, err := proc.ReadStat(p.Info().PID); return err != nil }) // not even a zombie
	}
}

// A probe that runs when its keeper dies does not go on as long as the app.
func TestAdopt_EndsTheProbesOfTheLastKeeper(t *testing.T) {
	for _, lane := range []string{"", tree.LaneScan} {
		t.Run("lane "+lane, func(t *testing.T) {
			f := newOutsideFixture(t, lane)
			p := f.launch(f.spec("sleep"))
			file := filepath.Join(t.TempDir(), "pid")
			probed := make(chan error, 1)
			go func() {
				probed <- p.Exec(t.Context(), []string{"sh", "-c", "echo $$$$ > " + file + ".new; mv " + file + ".new " + file + "; sleep 1000"}, time.Minute)
			}()
			f.await(func() bool { _, err := os.Stat(file); return err == nil })
			pid, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			old := f.keeperPID()
			if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			f.nextKeeper(old)
			if err := <-probed; err == nil {
				t.Error("a probe whose keeper died has succeeded")
			}
			f.await(func() bool { return !runs(strings.TrimSpace(string(pid))) })
			if isClosed(p.Exited()) {
				t.Error("the app went with its probe")
			}
			if left, _ := filepath.Glob(filepath.Join(instanceDir(f.state, string(p.id)), probePrefix+"*")); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

// A daemon that is the first process of a container is whom the apps of a keeper that
// died come down to.
func TestAdopt_AsTheFirstProcessOfAContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a pid namespace")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	roostExec, err := keepertest.Exec()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", self, "-test.run=^TestAdopt_EndsThatNoKeeperSaw$", "-test.v")
	cmd.Env = append(os.Environ(), keepertest.ExecVariable+"="+roostExec)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("as the first process: %v\n%s", err, out)
	}
}

// tellsOfReaped tells whether this kernel knows how a process ended that its parent
// has waited for.
func tellsOfReaped(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	for i, n := range strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)[:2] {
		*[]*int{&major, &minor}[i], _ = strconv.Atoi(n)
	}
	tells := major > 6 || major == 6 && minor >= 15
	if !tells {
		t.Log("Linux before 6.15 does not tell of processes that were reaped")
	}
	return tells
}

// With the daemon gone too, nobody holds what an ended instance had: where its status
// was taken, its exit is unknown, and called so. One that lives loses nothing.
func TestAdopt_AfterBothHaveDied(t *testing.T) {
	f := newOutsideFixture(t, "")
	lives, ends := f.launch(f.spec("term:7:bye\n")), f.launch(f.spec("sleep"))
	f.started(lives)
	keeper := f.keeperPID()
	f.stop()
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { return !runs(strconv.Itoa(keeper)) })
	if err := syscall.Kill(ends.Info().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { return !runs(strconv.Itoa(ends.Info().PID)) })
	f.stop = f.connect()
	list, err := f.client.Recover(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("processes %v, %v, want two", list, err)
	}
	for _, p := range list {
		if p.id == ends.id {
			f.wait(p.Gone())
			// Known as long as nobody has taken its status, and never guessed.
			if e := p.Exit(); !e.Unknown && e.Signal != syscall.SIGTERM {
				t.Errorf("exit %+v, want SIGTERM or unknown", e)
			}
			continue
		}
		if p.Info().PID != lives.Info().PID || isClosed(p.Exited()) {
			t.Errorf("one that lives is %+v", p.Info())
		}
		if err := p.Signal(t.Context(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		f.wait(p.Gone())
		if e := p.Exit(); e.Code != 7 || e.Unknown {
			t.Errorf("exit %+v, want code 7", e)
		}
		if got := f.output(p, "stdout"); got != "started\nbye\n" {
			t.Errorf("output %q", got)
		}
	}
}

// A keeper that cannot have what its instances need leaves all to the next one.
func TestAdopt_AKeeperWithoutDescriptorsLosesNothing(t *testing.T) {
	for _, lane := range []string{"", tree.LaneScan} {
		t.Run("lane "+lane, func(t *testing.T) {
			f := newOutsideFixture(t, lane)
			var all []*Process
			for range 10 {
				all = append(all, f.launch(f.spec("term:7:bye\n")))
			}
			for _, p := range all {
				f.await(func() bool { return f.output(p, "stdout") == "started\n" })
			}
			keeper := f.keeperPID()
			f.stop()
			if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			f.await(func() bool { return !runs(strconv.Itoa(keeper)) })
			for _, most := range []int{25, 40, 55} { // it needs some 15, and 7 an instance
				cfg := f.clientConfig()
				cfg.Environ = append(cfg.Environ, filesVariable+"="+strconv.Itoa(most))
				c, err := NewClient(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "too many open files") {
					t.Errorf("with %d files: %v", most, err)
				}
				c.Close()
				for _, p := range all {
					if !runs(strconv.Itoa(p.Info().PID)) {
						t.Fatalf("with %d files pid %d was lost", most, p.Info().PID)
					}
				}
			}
			f.stop = f.connect()
			list, err := f.client.Recover(t.Context())
			if err != nil || len(list) != len(all) {
				t.Fatalf("processes %v, %v, want %d", list, err, len(all))
			}
			for _, p := range list {
				if err := p.Signal(t.Context(), syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				f.wait(p.Gone())
				if p.Exit().Code != 7 || f.output(p, "stdout") != "started\nbye\n" {
					t.Errorf("exit %+v, output %q", p.Exit(), f.output(p, "stdout"))
				}
			}
		})
	}
}

// A daemon of another version replaces the keeper that it finds, and the apps do
// not notice.
func TestAdopt_UpgradeInPlace(t *testing.T) {
	f := &fixture{tb: t, keeper: newConfig(t, "")}
	f.state = f.keeper.StateDir
	f.keeper.Version = "one"
	t.Cleanup(f.shutdown)
	f.stop = f.connect()
	p := f.launch(f.spec("term:0:bye\n"))
	f.started(p)
	old := f.keeperPID()
	f.stop()
	f.stop = f.connect()
	if f.keeperPID() != old {
		t.Error("a daemon of the same version replaced the keeper")
	}
	f.stop()
	f.keeper.Version = "two"
	f.stop = f.connect()
	list, err := f.client.Recover(t.Context())
	if err != nil || len(list) != 1 || list[0].Info().PID != p.Info().PID || isClosed(list[0].Exited()) {
		t.Fatalf("processes %v, %v, want the one", list, err)
	}
	if info, _ := f.client.Keeper(); info.Version != "two" || info.PID == old {
		t.Errorf("keeper %+v, want a new one", info)
	}
	if err := list[0].Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.wait(list[0].Gone())
	if got := f.output(list[0], "stdout"); got != "started\nbye\n" || list[0].Exit() != (app.Exit{Time: list[0].Exit().Time}) {
		t.Errorf("output %q, exit %+v", got, list[0].Exit())
	}
}

// A keeper that dies at any moment of a launch leaves an app that the next one
// knows, or none.
func TestAdopt_KilledInTheMiddleOfALaunch(t *testing.T) {
	for _, lane := range []string{"", tree.LaneScan} {
		t.Run("lane "+lane, func(t *testing.T) {
			f := newOutsideFixture(t, lane)
			const rounds = 12
			lost := 0
			for n := range rounds {
				old := f.keeperPID()
				go func() {
					time.Sleep(time.Duration(n) * 400 * time.Microsecond) // a launch takes some milliseconds
					_ = syscall.Kill(old, syscall.SIGKILL)
				}()
				l := f.spec("term:0:bye\n")
				p, err := f.client.Launch(t.Context(), l)
				f.nextKeeper(old)
				if start, ok := errors.AsType[*app.StartError](err); ok && start.Lost {
					lost++
					f.await(func() bool { return !runsInstance(l.ID) })
					continue
				}
				if err != nil {
					t.Fatalf("round %d: %v", n, err)
				}
				if err := p.Kill(t.Context()); err != nil {
					t.Fatal(err)
				}
				f.wait(p.Gone())
			}
			t.Logf("%d of %d launches were lost", lost, rounds)
		})
	}
}

// runsInstance tells whether a process bears the id of an instance.
func runsInstance(id app.InstanceID) bool {
	all, _ := proc.All()
	return slices.ContainsFunc(all, func(s proc.Stat) bool {
		name, err := proc.Environ(s.PID, tree.InstanceVariable)
		return err == nil && name == string(id) && !s.Dead()
	})
}
