package folder

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds the wait for what must happen.
const patience = 20 * time.Second

// rig is a running watcher and a folder.
type rig struct {
	testing.TB
	*Watcher
	base, dir string
	last      app.FolderState
}

func newRig(t *testing.T, prepare ...func(w *Watcher)) *rig {
	t.Helper()
	base := t.TempDir()
	r := &rig{TB: t, Watcher: New(hclog.NewNullLogger()), base: base, dir: filepath.Join(base, "site", "app")}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(r.Watcher)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// watch watches the rig's folder and takes what it shows first.
func (r *rig) watch(patterns ...string) {
	r.Helper()
	r.Watch("web", app.Folder{Dir: r.dir, Watch: patterns, Settle: 50 * time.Millisecond})
	r.next()
}

// next takes the next change.
func (r *rig) next() app.FolderState {
	r.Helper()
	select {
	case c := <-r.Changes():
		r.last = c.State
	case <-time.After(patience):
		r.Fatalf("no change came after %+v", r.last)
	}
	return r.last
}

// until takes changes until one is as wanted.
func (r *rig) until(what string, is func(s app.FolderState) bool) {
	r.Helper()
	for deadline := time.Now().Add(patience); !is(r.last); {
		if time.Now().After(deadline) {
			r.Fatalf("never: %s; last %+v", what, r.last)
		}
		r.next()
	}
}

func (r *rig) offline(page string) {
	r.Helper()
	r.until("offline with "+page, func(s app.FolderState) bool { return s.Page != nil && string(s.Page.Page) == page })
}

func (r *rig) online() {
	r.Helper()
	r.until("online", func(s app.FolderState) bool { return s.Page == nil })
}

func (r *rig) settled(n int, file string) {
	r.Helper()
	r.until("settled", func(s app.FolderState) bool { return s.Settled == n && s.Changing == "" && s.Changed == file })
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) write(name, content string) {
	r.Helper()
	r.must(os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o644))
}

func (r *rig) remove(name string) {
	r.Helper()
	r.must(os.RemoveAll(filepath.Join(r.dir, name)))
}

func (r *rig) rename(from, to string) {
	r.Helper()
	r.must(os.Rename(filepath.Join(r.base, from), filepath.Join(r.base, to)))
}

func TestWatcher_PageComesChangesAndGoes(t *testing.T) {
	r := newRig(t)
	r.watch()
	if r.last.Page != nil {
		t.Fatal("offline without a page")
	}
	r.write("other.htm", "x")
	r.write("App_Offline.HTM", "one")
	r.offline("one")
	r.write("App_Offline.HTM", "two")
	r.offline("two")
	r.must(os.WriteFile(filepath.Join(r.base, "new"), []byte("three"), 0o644))
	r.rename("new", "site/app/App_Offline.HTM")
	r.offline("three")
	r.rename("site/app/App_Offline.HTM", "site/app/app_offline.htm.bak")
	r.online()
	r.rename("site/app/app_offline.htm.bak", "site/app/app_offline.htm")
	r.offline("three")
	r.remove("app_offline.htm")
	r.online()
}

// A page counts as soon as its file is there, but no half of one is shown.
func TestWatcher_APageThatIsBeingWritten(t *testing.T) {
	r := newRig(t)
	r.watch()
	half := func() *os.File {
		f, err := os.Create(filepath.Join(r.dir, "app_offline.htm"))
		r.must(err)
		_, err = f.WriteString("<h1>Back ")
		r.must(err)
		return f
	}
	finish := func(f *os.File, rest string) {
		_, err := f.WriteString(rest)
		r.must(err)
		r.must(f.Close())
	}
	f := half()
	if unleased(t, f.Name()) {
		t.Skip("this file system does not tell who writes")
	}
	r.next()
	if p := r.last.Page; p == nil || !p.BuiltIn {
		t.Errorf("page %+v while it is written, want the proxy's own", p)
	}
	finish(f, "soon")
	r.offline("<h1>Back soon")

	f = half() // over the old one, which counts until then
	r.must(os.Chmod(f.Name(), 0o600))
	r.write("app_offline.htm.txt", "x")
	finish(f, "late")
	r.next()
	if p := r.last.Page; p == nil || string(p.Page) != "<h1>Back late" {
		t.Errorf("page %+v right after the old one", p)
	}
}

// unleased reports whether a lease is given though there is a writer, or to nobody.
func unleased(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	return !isWritten(f)
}

func TestWatcher_WhatIsThereIsToldFirst(t *testing.T) {
	r := newRig(t)
	r.write("app_offline.htm", "early")
	r.watch()
	r.offline("early")
}

func TestWatcher_FollowsThePathWhateverIsRenamed(t *testing.T) {
	for name, replace := range map[string]func(r *rig){
		"the folder itself": func(r *rig) {
			r.rename("site/app", "site/old")
			r.must(os.Mkdir(r.dir, 0o755))
		},
		"one above it": func(r *rig) {
			r.rename("site", "old")
			r.must(os.MkdirAll(r.dir, 0o755))
		},
		"removed and made again": func(r *rig) {
			r.must(os.RemoveAll(filepath.Join(r.base, "site")))
			r.must(os.MkdirAll(r.dir, 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.watch()
			for range 3 {
				replace(r)
				r.write("app_offline.htm", "here")
				r.offline("here")
				r.remove("app_offline.htm")
				r.online()
				r.must(os.RemoveAll(filepath.Join(r.base, "old")))
				r.must(os.RemoveAll(filepath.Join(r.base, "site", "old")))
			}
		})
	}
}

func TestWatcher_FolderThatIsAwayChangesNothing(t *testing.T) {
	r := newRig(t)
	r.write("app_offline.htm", "deploying")
	r.watch("web.config")
	r.offline("deploying")
	r.rename("site/app", "site/old")
	r.must(os.Mkdir(filepath.Join(r.base, "site", "new"), 0o755))
	r.must(os.WriteFile(filepath.Join(r.base, "site", "new", "web.config"), nil, 0o644))
	r.rename("site/new", "site/app")
	for r.last.Page != nil {
		r.next()
	}
	if _, err := os.Stat(filepath.Join(r.dir, "web.config")); err != nil {
		t.Fatal("online before the new folder was there")
	}
}

func TestWatcher_LosingEventsCostsALook(t *testing.T) {
	r := newRig(t, func(w *Watcher) {
		w.open = func() (*inotify, error) {
			k, err := newInotify()
			if err == nil {
				go func() {
					// As the kernel does when its queue is full.
					event := make([]byte, unix.SizeofInotifyEvent)
					event[0], event[1], event[2], event[3] = 0xff, 0xff, 0xff, 0xff
					event[5] = unix.IN_Q_OVERFLOW >> 8
					for range 200 {
						k.event(event)
						time.Sleep(5 * time.Millisecond)
					}
				}()
			}
			return k, err
		}
	})
	r.Watch("web", app.Folder{Dir: r.dir})
	r.next()
	// Only an overflow can tell of it: nothing is watched any more.
	w := r.wanted["web"]
	w.kernel.mu.Lock()
	for wd := range w.kernel.holders {
		_, _ = unix.InotifyRmWatch(w.kernel.fd, uint32(wd))
	}
	w.kernel.mu.Unlock()
	r.write("app_offline.htm", "seen")
	r.offline("seen")
}

func TestWatcher_PollsWhereTheKernelHasNoWatches(t *testing.T) {
	r := newRig(t, func(w *Watcher) {
		w.open = func() (*inotify, error) { return nil, unix.EMFILE }
	})
	r.watch("web.config")
	if !strings.Contains(r.last.Polled, "max_user_instances") {
		t.Fatalf("it says %q", r.last.Polled)
	}
	r.write("app_offline.htm", "polled")
	r.offline("polled")
	r.remove("app_offline.htm")
	r.online()
	r.write("web.config", "x")
	r.settled(1, "web.config")
}

func TestWatcher_ForgetsAndWatchesAnew(t *testing.T) {
	r := newRig(t)
	r.watch("a")
	r.Forget("web")
	r.Watch("web", app.Folder{Dir: r.dir, Watch: []string{"b"}})
	if c := <-r.Changes(); len(c.Folder.Watch) != 1 || c.Folder.Watch[0] != "b" {
		t.Errorf("change of %+v", c.Folder)
	}
	r.write("a", "")
	r.write("b", "")
	r.settled(1, "b")
}

func TestPage_WhatCounts(t *testing.T) {
	write := func(content string, mode os.FileMode) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "app_offline.htm"), []byte(content), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(to string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "page.html"), []byte("linked"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, filepath.Join(dir, "app_offline.htm")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		make func(t *testing.T, dir string)
		page string
		none bool
	}{
		"a file":             {write("x\xff", 0o644), "x\xff", false},
		"an empty one":       {write("", 0o644), "", false},
		"nobody may read it": {write("secret", 0o000), "", false},
		"as large as may be": {write(strings.Repeat("x", app.MaxOfflinePage), 0o644), strings.Repeat("x", app.MaxOfflinePage), false},
		"too large":          {write(strings.Repeat("x", app.MaxOfflinePage+1), 0o644), "", false},
		"a link in":          {link("page.html"), "linked", false},
		"a link out":         {link("/etc/passwd"), "", false},
		"a link to nowhere":  {link("nowhere"), "", false},
		"a link to a folder": {link("."), "", true},
		"a pipe": {func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "app_offline.htm"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "", false},
		"a folder": {func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "app_offline.htm"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "", true},
		"a longer name": {func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "app_offline.html"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "", true},
		"nothing": {func(*testing.T, string) {}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(t, dir)
			got := New(hclog.NewNullLogger()).Look(dir)
			switch {
			case tt.none != (got == nil):
				t.Errorf("offline: %v, want %v", got != nil, !tt.none)
			case got != nil && (string(got.Page) != tt.page || got.BuiltIn):
				t.Errorf("%d bytes, want %d", len(got.Page), len(tt.page))
			}
		})
	}
	if New(hclog.NewNullLogger()).Look("/nowhere/at/all") != nil {
		t.Error("offline for want of a folder")
	}
}

func TestWatched_LookAtAFolderThatIsAwayKeepsThePage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "away")
	page := &app.OfflinePage{Page: []byte("x")}
	w := &watched{Folder: app.Folder{Dir: dir}, page: pageOf, wake: make(chan struct{}, 1), state: app.FolderState{Page: page}}
	if w.look(time.Now()); w.state.Page != page {
		t.Fatal("online because its folder is away")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if w.look(time.Now()); w.state.Page != nil {
		t.Fatal("offline in a folder without a page")
	}
}

func TestWatcher_EndsThoughAFolderDoesNotAnswer(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	w := New(hclog.NewNullLogger())
	w.page = func(string) (*app.OfflinePage, error) {
		close(asked)
		<-answer
		return nil, nil
	}
	defer close(answer)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.Watch("web", app.Folder{Dir: t.TempDir()})
	<-asked
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the daemon cannot end: a look is waited for that nobody can end")
	}
}

// A thousand apps must not cost a thousand goroutines that wait for their folders,
// nor leave watches behind.
func TestWatcher_FoldersInWhichNothingHappensCostNoGoroutine(t *testing.T) {
	const many = 50
	r := newRig(t)
	resting := func() bool {
		for _, w := range r.wanted {
			w.mu.Lock()
			awake := w.awake
			w.mu.Unlock()
			if awake {
				return false
			}
		}
		return true
	}
	for n := range many {
		dir := filepath.Join(r.base, "site", "app"+strconv.Itoa(n))
		r.must(os.Mkdir(dir, 0o755))
		r.Watch("app"+strconv.Itoa(n), app.Folder{Dir: dir})
	}
	for range many {
		r.next()
	}
	for deadline := time.Now().Add(patience); !resting(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("goroutines wait for folders")
		}
	}
	// Each wakes when something happens, and goes to rest again.
	r.must(os.WriteFile(filepath.Join(r.base, "site", "app7", app.OfflineFile), []byte("x"), 0o644))
	r.offline("x")

	kernel := r.wanted["app7"].kernel
	for n := range many {
		r.Forget("app" + strconv.Itoa(n))
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		kernel.mu.Lock()
		left := len(kernel.holders) + len(kernel.held)
		kernel.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d watches of folders that nobody watches", left)
		}
	}
}
