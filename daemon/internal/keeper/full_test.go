package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
)

func blocking(size int64, files int) app.Logs {
	return app.Logs{MaxSize: size, MaxFiles: &files, WhenFull: app.FullBlock}
}

// numbered tells whether text is the numbers from 0 on, 64 bytes a line.
func numbered(text string) error {
	for n := 0; text != ""; n++ {
		want := fmt.Sprintf("%063d\n", n)
		if !strings.HasPrefix(text, want) {
			return fmt.Errorf("line %d is %.64q", n, text)
		}
		text = text[64:]
	}
	return nil
}

// writes is an app that writes as many numbered lines of 64 bytes, at once and as
// many more for SIGUSR1.
func (f *fixture) writes(lines int, logs app.Logs) *Process {
	f.tb.Helper()
	l := f.shell(fmt.Sprintf(`trap 'seq -f %%063.0f %d %d' USR1; seq -f %%063.0f 0 %d; while :; do sleep 1 & wait $!; done`,
		lines, 2*lines-1, lines-1))
	l.Spec.Logs = logs
	return f.launch(l)
}

// noted waits until what was told of an instance is noted for the next daemon.
func (f *fixture) noted(p *Process) {
	f.tb.Helper()
	f.await(func() bool {
		r, err := readRecord(instanceDir(f.state, string(p.id)), recordName)
		return err == nil && r.GetAnnotations()[outputToldNote] != ""
	})
}

// With logs.when_full: block nothing is deleted and nothing lost: output waits until
// there is room, across a keeper's death too, and what has ended does not wait.
func TestFull_BlockWaitsForRoom(t *testing.T) {
	f := newOutsideFixture(t, "")
	p := f.writes(24<<10/64, blocking(8<<10, 2))
	f.await(func() bool { return p.Info().Output.Waits })
	if got := f.output(p, "stdout"); len(got) > 16<<10 || numbered(got) != nil {
		t.Errorf("%d bytes are there: %v", len(got), numbered(got))
	}
	old := f.keeperPID()
	f.killKeeper()()
	f.nextKeeper(old)
	f.await(func() bool { return p.Info().Output.Waits })
	if err := f.client.LimitLogs(t.Context(), "web", blocking(8<<10, 10)); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { return len(f.output(p, "stdout")) == 24<<10 })
	f.await(func() bool { return p.Info().Output == app.Output{} })

	if err := f.client.LimitLogs(t.Context(), "web", blocking(8<<10, 2)); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(t.Context(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { return p.Info().Output.Waits })
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.output(p, "stdout"); len(got) != 48<<10 || numbered(got) != nil {
		t.Errorf("of one that was killed %d bytes are there, want all it wrote: %v", len(got), numbered(got))
	}
}

// An instance that is to end may write one more segment.
func TestFull_UnblockLetsItWriteOn(t *testing.T) {
	f := newFixture(t, "")
	p := f.writes(40<<10/64, blocking(8<<10, 2))
	f.await(func() bool { return p.Info().Output.Waits })
	before := len(f.output(p, "stdout"))
	if err := p.Unblock(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { return len(f.output(p, "stdout")) == before+(8<<10) && p.Info().Output.Waits })
}

// Output that is never to be deleted is not for the bound of all apps either, also
// when a keeper comes that has seen no instance of the app, and none is remembered.
func TestFull_BlockedOutputIsNotDeletedForOthers(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		t.Run(fmt.Sprint("forgotten ", forgotten), func(t *testing.T) {
			f := newOutsideFixture(t, "")
			l := f.spec("write:kept")
			l.Spec.Logs = blocking(8<<10, 2)
			p := f.launch(l)
			f.wait(p.Gone())
			if forgotten {
				if err := p.Forget(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			f.stop()
			f.total = 1
			f.connect()
			old := f.keeperPID()
			f.killKeeper()()
			f.nextKeeper(old)
			other := f.spec("write:gone")
			other.Spec.Name = "other"
			o := f.launch(other)
			f.wait(o.Gone())
			f.await(func() bool {
				list, err := appSegments(f.keeper.LogDir, "other")
				return err == nil && len(list) == 0
			})
			if list, err := appSegments(f.keeper.LogDir, "web"); err != nil || len(list) == 0 {
				t.Fatalf("its output was deleted: %v", err)
			}
			if got := f.output(p, "stdout"); got != "kept" {
				t.Errorf("output is %q", got)
			}
		})
	}
}

// On a full disk an app writes on; what it lost is told once, of all daemons and
// keepers, and counted. Launches fail and say why, or work.
func TestFull_DropIsToldOnceAndCounted(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	f := &fixture{tb: t, keeper: newConfig(t, "")}
	f.state, f.keeper.LogDir = f.keeper.StateDir, dir
	t.Cleanup(f.shutdown)
	told := make(chan string, 16)
	f.dropped = func(_ app.ProcessInfo, over bool) { told <- fmt.Sprint("over ", over) }
	f.stop = f.connect()
	flood := f.shell(`trap 'yes "" | head -c 3000000; echo done >&2' USR1; echo up >&2; while :; do sleep 1 & wait $!; done`)
	flood.Spec.Logs.StdoutFile = ""
	p := f.launch(flood)
	f.await(func() bool { return f.output(p, "stderr") == "up\n" })
	hog := filepath.Join(dir, "hog")
	_ = os.WriteFile(hog, make([]byte, 8<<20), 0o600) // as far as it goes
	if err := p.Signal(t.Context(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != "over false" {
		t.Errorf("told %q", got)
	}
	f.noted(p)
	old := f.keeperPID()
	f.killKeeper()()
	f.nextKeeper(old)
	f.stop()
	f.connect()
	f.await(func() bool { list, err := f.client.Recover(t.Context()); return err == nil && len(list) == 1 })
	list, _ := f.client.Recover(t.Context())
	p = list[0]
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { return strings.HasSuffix(f.output(p, "stderr"), "done\n") })
	if got := <-told; got != "over true" {
		t.Errorf("told %q", got)
	}
	f.await(func() bool { o := p.Info().Output; return o.Fault == "" && o.DroppedBytes > 1<<20 })
	if o := p.Info().Output; o.DroppedLines != o.DroppedBytes {
		t.Errorf("%+v, want as many lines as bytes", o)
	}
	if len(told) > 0 {
		t.Errorf("told %q too", <-told)
	}
}

// What an app wrote last is lost with it where nobody holds its pipes, and the next
// keeper says so, once.
func TestFull_OutputOfOneThatNobodySawEndMayBeMissing(t *testing.T) {
	f := newOutsideFixture(t, "")
	missing := make(chan app.InstanceID, 4)
	f.missing = func(p app.ProcessInfo) { missing <- p.ID }
	f.dropped = func(app.ProcessInfo, bool) {}
	ends, lives := f.launch(f.spec("sleep")), f.launch(f.spec("sleep"))
	f.await(f.holdsAll)
	keeper := f.keeperPID()
	f.stop()
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(ends.Info().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { return !runs(fmt.Sprint(ends.Info().PID)) })
	f.stop = f.connect()
	if id := <-missing; id != ends.Info().ID {
		t.Errorf("told of %s, want %s (%s lives)", id, ends.Info().ID, lives.Info().ID)
	}
	f.noted(ends)
	f.stop()
	f.connect()
	if _, err := f.client.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 {
		t.Errorf("told of %s too", <-missing)
	}
}
