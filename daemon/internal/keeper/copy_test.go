package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// shell is an app that is a shell script. As root it is of the user nobody, in a
// folder that is nobody's.
func (f *fixture) shell(script string) app.Launch {
	f.tb.Helper()
	dir, err := os.MkdirTemp("", "roost-stdout")
	if err != nil {
		f.tb.Fatal(err)
	}
	f.tb.Cleanup(func() { os.RemoveAll(dir) })
	l := f.spec("")
	l.Dir, l.Spec.Command = dir, []string{"/bin/sh", "-c", script}
	l.Spec.Logs = app.Logs{MaxSize: 1 << 20, MaxFiles: new(5), StdoutFile: "logs/deep/${ROOST_APP}"}
	if os.Geteuid() == 0 {
		l.Spec.User = "nobody"
		if err := os.Chown(dir, 65534, 65534); err != nil {
			f.tb.Fatal(err)
		}
	}
	return l
}

// copied is all that the files of a prefix hold.
func copied(tb testing.TB, prefix string) string {
	tb.Helper()
	found, err := filepath.Glob(prefix + "_*")
	if err != nil {
		tb.Fatal(err)
	}
	var b strings.Builder
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		b.Write(data)
	}
	return b.String()
}

// awaitCopy waits until the copies of a prefix are as long as what the processes
// wrote. As a rule they are when the processes are gone, but nothing waits for a
// slow disk.
func (f *fixture) awaitCopy(prefix string, all ...*Process) {
	f.tb.Helper()
	want := 0
	for _, p := range all {
		f.wait(p.Gone())
		want += len(f.output(p, "stdout")) + len(f.output(p, "stderr"))
	}
	f.await(func() bool { return len(copied(f.tb, prefix)) >= want })
}

func TestStdoutFile_HoldsAllThatTheAppWrites(t *testing.T) {
	f := newFixture(t, "")
	l := f.shell(`echo out; echo err >&2; echo token $ROOST_TOKEN`)
	before := time.Now().UTC().Truncate(time.Second)
	p := f.launch(l)
	f.awaitCopy(filepath.Join(l.Dir, "logs", "deep", "web"), p)
	found, _ := filepath.Glob(filepath.Join(l.Dir, "logs", "deep", "*"))
	if len(found) != 1 {
		t.Fatalf("files %q, want one", found)
	}
	stamp, ok := strings.CutPrefix(filepath.Base(found[0]), "web_")
	stamp, pid := strings.CutSuffix(stamp, fmt.Sprintf("_%d.log", p.Info().PID))
	at, err := time.Parse("20060102150405", stamp)
	if !ok || !pid || err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("%s is not web_<time>_%d.log: %v", found[0], p.Info().PID, err)
	}
	// Streams are merged as they came, and the app's bytes are not touched.
	text := copied(t, filepath.Join(l.Dir, "logs", "deep", "web"))
	if lines := strings.Split(text, "\n"); len(lines) != 4 || !strings.Contains(text, "err\n") ||
		strings.Index(text, "out\n") > strings.Index(text, "token secret-token\n") || !strings.Contains(text, "out\n") {
		t.Errorf("the copy is %q", text)
	}
	for _, path := range []string{found[0], filepath.Dir(found[0]), filepath.Join(l.Dir, "logs")} {
		info, err := os.Stat(path)
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != uint32(p.Info().UID) || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: %v, %v, want the app user's (%d) and nobody else's", path, info.Mode(), err, p.Info().UID)
		}
	}
}

func TestStdoutFile_EachStartHasItsOwn(t *testing.T) {
	f := newFixture(t, "")
	l := f.shell(`echo $ROOST_INSTANCE`)
	var want []string
	var all []*Process
	for range 3 {
		l.ID = f.spec("").ID
		p := f.launch(l)
		all = append(all, p)
		f.awaitCopy(filepath.Join(l.Dir, "logs", "deep", "web"), all...)
		want = append(want, string(l.ID))
	}
	found, _ := filepath.Glob(filepath.Join(l.Dir, "logs", "deep", "web_*.log"))
	text := copied(t, filepath.Join(l.Dir, "logs", "deep", "web"))
	if len(found) != 3 {
		t.Errorf("files %q, want three", found)
	}
	for _, id := range want {
		if !strings.Contains(text, id) {
			t.Errorf("%s is missing in %q", id, text)
		}
	}
}

// What the app's user may not do is not done for it, and the app runs as it would
// without.
func TestStdoutFile_IsOpenedAsTheAppsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	roots, err := os.MkdirTemp("", "roost-roots")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(roots) })
	if err := os.Chmod(roots, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, prepare := range map[string]func(l *app.Launch) error{
		"a folder of root's":    func(l *app.Launch) error { l.Spec.Logs.StdoutFile = roots + "/out"; return nil },
		"a folder below it":     func(l *app.Launch) error { l.Spec.Logs.StdoutFile = roots + "/new/out"; return nil },
		"a link to it":          func(l *app.Launch) error { return os.Symlink(roots, filepath.Join(l.Dir, "logs")) },
		"a way out by ..":       func(l *app.Launch) error { l.Spec.Logs.StdoutFile = "../" + filepath.Base(roots) + "/out"; return nil },
		"a file in its way":     func(l *app.Launch) error { return os.WriteFile(filepath.Join(l.Dir, "logs"), nil, 0o600) },
		"a link that goes back": func(l *app.Launch) error { return os.Symlink("logs", filepath.Join(l.Dir, "logs")) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "")
			faults := f.faults()
			l := f.shell(`echo still here`)
			if err := prepare(&l); err != nil {
				t.Fatal(err)
			}
			p := f.launch(l)
			f.wait(p.Gone())
			f.await(func() bool { return len(faults()) > 0 })
			if got := faults(); len(got) != 1 || !strings.Contains(got[0], string(l.ID)+": ") {
				t.Errorf("told of %q, want one fault of %s", got, l.ID)
			}
			if got := f.output(p, "stdout"); got != "still here\n" {
				t.Errorf("the segment holds %q", got)
			}
			if entries, err := os.ReadDir(roots); err != nil || len(entries) > 0 {
				t.Errorf("root's folder holds %v, %v", entries, err)
			}
		})
	}
}

// The name that the next file will have cannot be known ahead, but an app may have
// luck: what lies there is left alone, even where its user may write to it.
func TestStdoutFile_IsNeverAFileThatWasThere(t *testing.T) {
	f := newFixture(t, "")
	// The shell's pid is the instance's: it lays a link for each of the next seconds.
	l := f.shell(`read go <fifo; echo text`)
	victim := filepath.Join(l.Dir, "victim")
	logs := filepath.Join(l.Dir, "logs", "deep")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o666), os.MkdirAll(logs, 0o777), syscall.Mkfifo(filepath.Join(l.Dir, "fifo"), 0o666),
		os.Chmod(victim, 0o666), os.Chmod(filepath.Dir(logs), 0o777), os.Chmod(logs, 0o777), os.Chmod(filepath.Join(l.Dir, "fifo"), 0o666)); err != nil {
		t.Fatal(err)
	}
	p := f.launch(l)
	f.await(func() bool { found, _ := filepath.Glob(logs + "/web_*"); return len(found) == 1 })
	found, _ := filepath.Glob(logs + "/web_*")
	// Deleted under the copy, the next is to have _1, where a link is laid.
	if err := errors.Join(os.Symlink(victim, strings.TrimSuffix(found[0], ".log")+"_1.log"), os.Remove(found[0]),
		os.WriteFile(filepath.Join(l.Dir, "fifo"), []byte("go\n"), 0)); err != nil {
		t.Fatal(err)
	}
	f.wait(p.Gone())
	second := strings.TrimSuffix(found[0], ".log") + "_2.log"
	f.await(func() bool { info, err := os.Stat(second); return err == nil && info.Size() >= int64(len("text\n")) })
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("behind the link is %q, %v", data, err)
	}
	if data, err := os.ReadFile(second); err != nil || string(data) != "text\n" {
		t.Errorf("the copy is %q, %v", data, err)
	}
}

// The copy is the keeper's: a daemon that dies or is away costs it no line.
func TestStdoutFile_NeedsNoDaemon(t *testing.T) {
	f := newFixture(t, "")
	l := f.shell(`i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; : >done; exec sleep 600`)
	l.Spec.Logs.MaxSize = 8 << 10
	*l.Spec.Logs.MaxFiles = 100
	p := f.launch(l)
	f.stop()
	f.await(func() bool { _, err := os.Stat(filepath.Join(l.Dir, "done")); return err == nil })
	f.connect()
	list, err := f.client.Recover(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if err := list[0].Kill(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.awaitCopy(filepath.Join(l.Dir, "logs", "deep", "web"), list[0])
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	base := filepath.Join(l.Dir, "logs", "deep", "web_"+p.Info().StartTime.UTC().Format("20060102150405")+fmt.Sprintf("_%d", p.Info().PID))
	got, err := os.ReadFile(base + ".log")
	for n := 1; err == nil; n++ {
		var more []byte
		more, err = os.ReadFile(fmt.Sprintf("%s_%d.log", base, n))
		got = append(got, more...)
	}
	if !errors.Is(err, fs.ErrNotExist) || string(got) != want.String() {
		t.Errorf("%d bytes in the copy, want %d: %v", len(got), want.Len(), err)
	}
}

// A daemon tells of what went wrong while there was none, and tells it once.
func TestStdoutFile_AFaultIsToldOnceOfAllDaemons(t *testing.T) {
	f := newFixture(t, "")
	faults := f.faults()
	l := f.shell(`exec sleep 600`)
	if err := os.WriteFile(filepath.Join(l.Dir, "logs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := f.launch(l)
	f.await(func() bool { return len(faults()) == 1 })
	f.await(func() bool { // what the next daemon is told; the disk has it a moment before
		list, err := f.client.rpc.List(t.Context(), &keeperv1.ListRequest{})
		return err == nil && len(list.GetRecords()) == 1 && list.GetRecords()[0].GetInstance() == string(p.id) &&
			list.GetRecords()[0].GetAnnotations()[toldNote] != ""
	})
	f.stop()
	f.connect()
	if _, err := f.client.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := faults(); len(got) != 1 {
		t.Errorf("told of %q, want once", got)
	}
}

func TestStdoutFile_NamesNoSecret(t *testing.T) {
	f := newFixture(t, "")
	faults := f.faults()
	l := f.shell(`true`)
	l.Spec.Logs.StdoutFile = "out-${ROOST_TOKEN}"
	p := f.launch(l)
	f.wait(p.Gone())
	if got := faults(); len(got) != 1 || !strings.Contains(got[0], "ROOST_TOKEN") {
		t.Errorf("told of %q", got)
	}
	if found, _ := filepath.Glob(filepath.Join(l.Dir, "out*")); len(found) > 0 {
		t.Errorf("files %q", found)
	}
}

// faults makes the fixture's client note what it is told of copies that fail.
func (f *fixture) faults() func() []string {
	var mu sync.Mutex
	var list []string
	f.fault = func(p app.ProcessInfo, why string) {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, string(p.ID)+": "+why)
	}
	f.stop()
	f.stop = f.connect()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), list...)
	}
}

// Keepers that are killed while an app writes, one after the other, cost the copy
// no line and repeat none.
func TestStdoutFile_GoesOnWithTheNextKeeper(t *testing.T) {
	f := newOutsideFixture(t, "")
	l := f.shell(`i=0; while [ ! -e stop ]; do echo line $i; i=$((i+1)); done; echo lines $i; : >done; exec sleep 600`)
	*l.Spec.Logs.MaxFiles = 10_000
	l.Spec.Logs.MaxSize = 64 << 10
	p := f.launch(l)
	prefix := filepath.Join(l.Dir, "logs", "deep", "web")
	size := func() int { return len(copied(t, prefix)) }
	for range 5 {
		f.await(func() bool { return size() > 0 })
		from, old := size(), f.keeperPID()
		f.await(func() bool { return size() > from })
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.nextKeeper(old)
	}
	if err := os.WriteFile(filepath.Join(l.Dir, "stop"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.await(func() bool { _, err := os.Stat(filepath.Join(l.Dir, "done")); return err == nil })
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.awaitCopy(prefix, p)
	want := f.output(p, "stdout")
	found, _ := filepath.Glob(prefix + "_*")
	slices.SortFunc(found, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	var got strings.Builder
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(data)
	}
	lines := strings.Split(strings.TrimSuffix(want, "\n"), "\n")
	if last := fmt.Sprintf("lines %d", len(lines)-1); lines[len(lines)-1] != last {
		t.Errorf("the app's output ends with %q, want %q", lines[len(lines)-1], last)
	}
	if got.String() != want {
		t.Errorf("the copy has %d bytes, the app wrote %d", got.Len(), len(want))
	}
}
