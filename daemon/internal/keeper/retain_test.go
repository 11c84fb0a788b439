package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/watch"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

func limited(size int64, files int) app.Logs { return app.Logs{MaxSize: size, MaxFiles: &files} }

// onDisk lists the segments of an app's stdout, and what they hold in order.
func (f *fixture) onDisk(p *Process) (names []string, content string) {
	f.tb.Helper()
	list, err := instanceSegments(f.keeper.LogDir, "web", string(p.id))
	if err != nil {
		f.tb.Fatal(err)
	}
	for _, s := range list {
		if name := filepath.Base(s.path); strings.HasPrefix(name, "stdout.") {
			names = append(names, name)
		}
	}
	return names, f.output(p, "stdout")
}

func startOf(path string) int {
	name := filepath.Base(path)
	start, _ := pump.SegmentStart(name, strings.SplitN(name, ".", 2)[0])
	return int(start)
}

// What an app writes is kept in segments of max_size, the newest max_files of them
// all in all, byte for byte, across a keeper's death; new limits act at once.
func TestRetention_KeepsTheNewest(t *testing.T) {
	f := newOutsideFixture(t, "")
	l := f.spec("lines")
	l.Spec.Logs = limited(8<<10, 4)
	p := f.launch(l)
	f.await(func() bool { return f.output(p, "stderr") == "ready\n" })
	send := func(from, to int) { // lines of 64 bytes, by the app's signal
		t.Helper()
		for n := from; n < to; n += 64 {
			if err := p.Signal(t.Context(), syscall.SIGUSR1); err != nil { // 64 lines: 4 KiB
				t.Fatal(err)
			}
			want := fmt.Sprintf("%063d\n", n+63)
			f.await(func() bool { _, content := f.onDisk(p); return strings.HasSuffix(content, want) })
		}
	}
	// check looks for the newest lines, in no more segments than are allowed and the
	// one that is written to. Their indexes count, too, so there may be one less.
	check := func(size, segments, last int) {
		t.Helper()
		f.await(func() bool { names, _ := f.onDisk(p); return len(names) <= segments+1 })
		names, content := f.onDisk(p)
		lines := strings.SplitAfter(content, "\n")
		lines = lines[:len(lines)-1]
		if least := (segments - 1) * size / 64; len(lines) < least {
			t.Errorf("%d lines are left in %v, want at least %d", len(lines), names, least)
		}
		for i, line := range lines {
			if want := fmt.Sprintf("%063d\n", last-len(lines)+1+i); line != want {
				t.Fatalf("line %d of %v is %q, want %q", i, names, line, want)
			}
		}
	}
	send(0, 16*64)
	check(8<<10, 4, 16*64-1)
	old := f.keeperPID()
	f.killKeeper()()
	f.nextKeeper(old)
	send(16*64, 24*64)
	check(8<<10, 4, 24*64-1)
	if err := f.client.LimitLogs(t.Context(), "web", limited(4<<10, 2)); err != nil {
		t.Fatal(err)
	}
	send(24*64, 28*64)
	check(4<<10, 2, 28*64-1)
}

// A keeper that takes over deletes nothing until it knows of all who still write:
// those that have been silent for long are the oldest.
func TestRetention_SparesWhatIsTakenOver(t *testing.T) {
	f := newOutsideFixture(t, "")
	var all []*Process
	for range 12 {
		l := f.spec("term:0:bye\n")
		l.Spec.Logs = limited(100, 1)
		p := f.launch(l)
		f.await(func() bool { return f.output(p, "stdout") == "started\n" })
		all = append(all, p)
	}
	old := f.keeperPID()
	f.killKeeper()()
	f.nextKeeper(old)
	ended := f.launch(f.spec("write:much"))
	f.wait(ended.Gone())
	if err := f.client.LimitLogs(t.Context(), "web", limited(101, 1)); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { names, _ := f.onDisk(ended); return len(names) == 0 })
	for _, p := range all {
		if names, content := f.onDisk(p); content != "started\n" {
			t.Errorf("of one that lives %q is left, in %v", content, names)
		}
	}
}

// An app that keeps crashing leaves no folders without end, though each is small.
func TestRetention_FoldersOfEndedInstancesGo(t *testing.T) {
	f := newFixture(t, "")
	for range 6 {
		l := f.spec("exit:0")
		l.Spec.Logs = limited(4<<10, 1)
		p := f.launch(l)
		f.wait(p.Gone())
		if err := p.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Each leaves two streams, which count as a hundredth of max_size at least: all
	// have room. With a limit of one byte they have none.
	if entries, _ := os.ReadDir(filepath.Join(f.keeper.LogDir, "web")); len(entries) != 6 {
		t.Fatalf("%d folders, want 6", len(entries))
	}
	if err := f.client.LimitLogs(t.Context(), "web", limited(100, 1)); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool {
		list, err := appSegments(f.keeper.LogDir, "web")
		return err == nil && len(list) <= 100 && weight(list, 100) <= 100
	})
}

func weight(list []segment, size int64) (n int64) {
	for _, s := range list {
		n += max(s.bytes, size/leastShare)
	}
	return n
}

func TestSurplus_OldestFirstAndNeverWhatIsKept(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	list := []segment{
		{path: "c", bytes: 10, time: at(3)}, {path: "a", bytes: 10, time: at(1)},
		{path: "b", bytes: 10, time: at(2)}, {path: "kept", bytes: 10, time: at(0)},
	}
	keep := func(s segment) bool { return s.path == "kept" }
	weigh := func(s segment) int64 { return s.bytes }
	for most, want := range map[int64]string{40: "", 39: "a", 30: "a", 25: "a b", 0: "a b c"} {
		var got []string
		for _, s := range surplus(list, most, weigh, keep) {
			got = append(got, s.path)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("of 40 at most %d: %v is deleted, want %q", most, got, want)
		}
	}
}

// What comes right after all output was looked through is looked through, too.
func TestRetention_OfAllAppsComesBackInTime(t *testing.T) {
	logs := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		// In the bubble, or its channels were not the bubble's.
		s := &server{
			cfg: Config{LogDir: logs, Log: hclog.NewNullLogger()}, retention: newRetention(),
			deleted: watch.NewHub[string, *keeperv1.LogsDeleted](),
		}
		s.retention.limitAll(15)
		dir := filepath.Join(s.cfg.LogDir, "web", "ended")
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		left := func() int {
			list, err := allSegments(s.cfg.LogDir)
			if err != nil {
				t.Error(err)
			}
			return len(list)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.retain(ctx) }()
		for start := 0; start < 30; start += 10 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("stdout.", start)), make([]byte, 10), 0o640); err != nil {
				t.Error(err)
			}
			s.retention.look("web")
			synctest.Wait()
		}
		if n := left(); n != 3 {
			t.Errorf("%d segments, want the three until a while has passed", n)
		}
		time.Sleep(totalEvery)
		synctest.Wait()
		if n := left(); n != 1 {
			t.Errorf("%d segments are left, want one", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A stream is deleted from its beginning, whatever the clock does.
func TestSurplus_LeavesNoHoles(t *testing.T) {
	noon := time.Now()
	for name, at := range map[string]func(n int) time.Time{
		"all in one tick":     func(int) time.Time { return noon },
		"the clock went back": func(n int) time.Time { return noon.Add(-time.Duration(n) * time.Hour) },
	} {
		logs := t.TempDir()
		dir := filepath.Join(logs, "web", "one")
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		for n, start := range []string{"0", "95", "100", "1000"} {
			path := filepath.Join(dir, "stdout."+start)
			if err := errors.Join(os.WriteFile(path, make([]byte, 10), 0o640), os.Chtimes(path, at(n), at(n))); err != nil {
				t.Fatal(err)
			}
		}
		list, err := appSegments(logs, "web")
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, s := range surplus(list, 15, func(s segment) int64 { return s.bytes }, func(s segment) bool { return s.newest }) {
			got = append(got, startOf(s.path))
		}
		if !slices.Equal(got, []int{0, 95, 100}) {
			t.Errorf("%s: deleted %v, want the first three in their order", name, got)
		}
	}
}

// The bound for all apps deletes the oldest of all, whosever it is.
func TestRetention_OfAllApps(t *testing.T) {
	f := newFixture(t, "")
	for n, name := range []string{"old", "new"} {
		dir := filepath.Join(f.keeper.LogDir, name, "gone"+name)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "stdout.0")
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o640); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(time.Duration(n-10) * time.Hour)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	told := make(chan int64, 8)
	f.stop()
	f.total, f.deleted = 3<<19, func(name string, own, forAll int64) {
		if name == "old" && own == 0 {
			told <- forAll
		}
	}
	f.stop = f.connect()
	p := f.launch(f.spec("exit:0"))
	f.wait(p.Gone())
	if n := <-told; n != 1<<20 {
		t.Errorf("told of %d bytes, want %d", n, 1<<20)
	}
	if _, err := os.Stat(filepath.Join(f.keeper.LogDir, "old", "goneold")); !os.IsNotExist(err) {
		t.Errorf("the older one is left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(f.keeper.LogDir, "new", "gonenew", "stdout.0")); err != nil {
		t.Errorf("the newer one: %v", err)
	}
}

// What was kept of an instance for its output goes with that, not some time later: an
// app that keeps crashing would leave a folder for each crash of a minute.
func TestRetention_TakesTheForgottenRecordAlong(t *testing.T) {
	f := newFixture(t, "")
	var all []*Process
	for range 4 {
		l := f.spec("write:some output\n")
		l.Spec.Logs = limited(4<<10, 1)
		p := f.launch(l)
		f.wait(p.Gone())
		if err := p.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for _, p := range all {
		if len(f.files(p)) != 1 {
			t.Fatalf("%s, which has output, has %v", p.id, f.files(p))
		}
	}
	if err := f.client.LimitLogs(t.Context(), "web", limited(1, 1)); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool {
		left := 0
		for _, p := range all {
			left += len(f.files(p))
		}
		return left == 0
	})
}
