package folder

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestWatched_EveryKindOfChangeSettles(t *testing.T) {
	r := newRig(t)
	r.write("web.config", "1")
	r.must(os.Mkdir(filepath.Join(r.dir, "conf"), 0o755))
	r.watch("web.config", "conf/*.json", "late/x/[ab]")
	n := 0
	for what, change := range map[string]struct {
		do   func()
		file string
	}{
		"touched": {func() {
			now := time.Now()
			r.must(os.Chtimes(filepath.Join(r.dir, "web.config"), now, now))
		}, "web.config"},
		"written": {func() { r.write("web.config", "22") }, "web.config"},
		"replaced": {func() {
			r.write("tmp", "3")
			r.rename("site/app/tmp", "site/app/web.config")
		}, "web.config"},
		"made":      {func() { r.write("conf/a.json", "") }, "conf/a.json"},
		"its mode":  {func() { r.must(os.Chmod(filepath.Join(r.dir, "web.config"), 0o600)) }, "web.config"},
		"a subtree": {func() { r.must(os.MkdirAll(filepath.Join(r.dir, "late", "x"), 0o755)); r.write("late/x/b", "") }, "late/x/b"},
	} {
		n++
		change.do()
		r.settled(n, change.file)
		t.Log(what)
	}
	r.remove("late")
	r.settled(n+1, "late/x/b")
	// What no pattern names is nobody's business, nor is a look at a file.
	r.write("log.txt", "x")
	r.write("conf/a.txt", "x")
	if _, err := os.ReadFile(filepath.Join(r.dir, "web.config")); err != nil {
		t.Fatal(err)
	}
	r.write("conf/b.json", "last")
	r.settled(n+2, "conf/b.json")
}

func TestWatched_AChangeIsToldAtOnceAndSettlesOnlyWhenAllIsQuiet(t *testing.T) {
	r := newRig(t)
	r.Watch("web", app.Folder{Dir: r.dir, Watch: []string{"*"}, Settle: 500 * time.Millisecond})
	r.next()
	began := time.Now()
	for i := range 30 {
		r.write("web.config", string(rune('a'+i)))
		if i == 0 {
			if s := r.next(); s.Changing != "web.config" || s.Settled != 0 {
				t.Fatalf("%+v", s)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	last := time.Now()
	r.settled(1, "web.config")
	if quiet := time.Since(last); quiet < 450*time.Millisecond && last.Sub(began) < 5*time.Second {
		t.Errorf("settled after %v", quiet)
	}
}

func TestWatched_NoSettleIsAtOnce(t *testing.T) {
	r := newRig(t)
	r.Watch("web", app.Folder{Dir: r.dir, Watch: []string{"x"}})
	r.next()
	r.write("x", "")
	r.settled(1, "x")
}

func TestScan_IsBoundedAndFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	for i := range maxFiles + 10 {
		name := filepath.Join(dir, "f"+time.Duration(i).String())
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	s, err := scanFiles(dir, []string{"*", "out/*"})
	if err != nil || !s.full || len(s.files) != maxFiles {
		t.Errorf("%d files, full %v, %v", len(s.files), s.full, err)
	}
	if s, _ = scanFiles(dir, []string{"out/*"}); len(s.files) != 0 || len(s.dirs) != 1 {
		t.Errorf("beyond the link: %+v", s)
	}
}

func TestWatched_TellsWhatWasChangedLast(t *testing.T) {
	r := newRig(t)
	r.watch("*.config")
	if r.last.Newest != "" {
		t.Fatalf("an empty folder has %q", r.last.Newest)
	}
	var last time.Time
	for _, name := range []string{"b.config", "a.config", "b.config"} {
		for at := last; !at.After(last); at = r.changed(name) { // a file system's clock is coarse
			r.write(name, name)
		}
		last = r.changed(name)
		r.until(name+" is the newest", func(s app.FolderState) bool { return s.Newest == name && s.NewestTime.Equal(last) })
	}
}

// changed is when a file was changed, in whatever way.
func (r *rig) changed(name string) time.Time {
	r.Helper()
	var st syscall.Stat_t
	r.must(syscall.Stat(filepath.Join(r.dir, name), &st))
	return time.Unix(st.Ctim.Unix())
}
