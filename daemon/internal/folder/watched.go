package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	// pollEvery is how often a folder is looked at that the kernel says nothing of.
	pollEvery = time.Second
	// lookPause is the least time between two looks: a folder in which much happens
	// costs no more than that.
	lookPause = 10 * time.Millisecond
)

// watched is the folder of one app. A goroutine looks at it whenever it may show
// something else, and ends when that is told: most folders never change, and a
// goroutine each would be a good part of what an app costs that does not run.
type watched struct {
	app.Folder
	name    string
	kernel  *inotify // nil: there is none
	without string   // why
	page    func(dir string) (*app.OfflinePage, error)
	changes chan<- app.FolderChange
	spawn   func(func()) bool // starts the goroutine
	ctx     context.Context   // nil before begin
	end     context.CancelFunc
	wake    chan struct{} // holds one: it is to be looked at

	mu      sync.Mutex
	awake   bool        // the goroutine runs: what follows is its own
	alarm   *time.Timer // wakes it; nil: none is set
	told    *app.FolderState
	state   app.FolderState
	files   map[string]stamp    // nil before the first look
	dirs    map[string][]string // see scan
	held    bool                // the kernel knows what follows from dirs
	polls   bool
	quietAt time.Time // when changed files count as settled
	// unfinished says that the page is being written.
	unfinished bool
}

// begin has the folder looked at from now on, until end, or the end of ctx.
func (w *watched) begin(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	w.ctx, w.end = ctx, func() {
		cancel()
		w.poke() // to let go of what it holds
	}
	w.poke()
}

// poke has the folder looked at again. It never blocks.
func (w *watched) poke() {
	w.again()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.awake {
		w.awake = w.spawn(w.run)
	}
}

// sleep ends the goroutine's turn, unless it was woken; its alarm is set where
// there is something to look for unasked.
func (w *watched) sleep() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wake) > 0 {
		return false
	}
	if next := w.next(time.Now()); next < forever {
		w.alarm = time.AfterFunc(next, w.poke)
	}
	w.awake = false
	return true
}

// run looks and tells until there is nothing new.
func (w *watched) run() {
	if w.alarm != nil {
		w.alarm.Stop()
		w.alarm = nil
	}
	for {
		select {
		case <-w.wake:
		default:
		}
		if w.ctx.Err() != nil {
			if w.kernel != nil {
				w.kernel.hold(w, nil, nil)
			}
			return // awake for ever: nobody looks any more
		}
		w.look(time.Now())
		looked := time.Now()
		w.tell()
		if !pause(w.ctx, lookPause-time.Since(looked)) {
			continue
		}
		if w.sleep() {
			return
		}
	}
}

// tell tells what is new, unless it is to be looked at again before anybody listens.
func (w *watched) tell() {
	if w.told != nil && reflect.DeepEqual(*w.told, w.state) {
		return
	}
	timer := time.NewTimer(w.next(time.Now()))
	defer timer.Stop()
	select {
	case w.changes <- app.FolderChange{App: w.name, Folder: w.Folder, State: w.state}:
		w.told = new(w.state)
	case <-timer.C:
		w.again()
	case <-w.wake:
		w.again()
	case <-w.ctx.Done():
	}
}

// again keeps the goroutine from going to sleep, or has it look as soon as it wakes.
func (w *watched) again() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// pause is false where ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const forever = time.Duration(1<<63 - 1)

// next is how long to wait for an event before looking unasked.
func (w *watched) next(now time.Time) time.Duration {
	wait := forever
	if w.polls || w.unfinished { // who writes by another name is not told of
		wait = pollEvery
	}
	if w.state.Changing != "" {
		wait = min(wait, w.quietAt.Sub(now))
	}
	return wait
}

// look finds out what the folder shows now. It is watched before it is read.
func (w *watched) look(now time.Time) {
	found := w.scan()
	if file := w.compare(found.files); file != "" {
		w.state.Changing, w.quietAt = file, now.Add(w.Settle)
	}
	w.settle(now)
	w.state.Newest, w.state.NewestTime = found.newest()
	page, err := w.page(w.Dir)
	w.unfinished = errors.Is(err, errUnfinished)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A folder that is away, as while it is replaced, changes nothing: nothing
		// could run in it either.
	case w.unfinished && w.state.Page != nil: // the page that it was stays until then
	default:
		w.state.Page = page
	}
}

// scan looks at the watched files, once all folders are watched that they lie in.
func (w *watched) scan() scan {
	for try := 0; ; try++ {
		w.state.Polled = w.attach()
		w.polls = w.state.Polled != ""
		found, _ := scanFiles(w.Dir, w.Watch) // what is not there has no files
		if found.full {
			w.state.Polled = fmt.Sprintf("recycle.watch matches more than %d files or %d folders: the rest is not watched", maxFiles, maxDirs)
		}
		if reflect.DeepEqual(found.dirs, w.dirs) {
			return found
		}
		w.dirs, w.held = found.dirs, false
		if try == maxTries { // it changes faster than we look
			w.poke()
			return found
		}
	}
}

// compare returns a file that has changed since the last look, "" where none has.
func (w *watched) compare(files map[string]stamp) string {
	was := w.files
	w.files = files
	if was == nil {
		return "" // nothing is known of what was before
	}
	return scan{files: files}.changed(was)
}

// settle counts changed files as settled once they were left alone for long enough.
func (w *watched) settle(now time.Time) {
	if w.state.Changing == "" || now.Before(w.quietAt) {
		return
	}
	w.state.Changed, w.state.Changing = w.state.Changing, ""
	w.state.Settled++
}

// attach has the kernel tell of the folder, of what leads to it, and of the
// folders of watched files. It returns why it will not; "" where it does.
func (w *watched) attach() string {
	if w.kernel == nil {
		return "its folder is polled: " + w.without
	}
	err := w.kernel.watch(w, w.targets(), w.held)
	w.held = true
	if err != nil {
		return "its folder is polled: " + why(err)
	}
	if name := remote(w.Dir); name != "" {
		return "its folder is polled: it lies on " + name + ", where others can change it unseen"
	}
	return ""
}

// targets are the folders that an event may come from, from the top.
func (w *watched) targets() []target {
	var list []target
	for dir := w.Dir; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		below := filepath.Base(dir)
		list = append(list, target{
			path: filepath.Dir(dir), events: pathEvents, names: func(name string) bool { return name == below },
		})
	}
	slices.Reverse(list)
	top := w.dirs["."] // the functions run elsewhere
	list = append(list, target{path: w.Dir, events: fileEvents, must: true, names: func(name string) bool {
		return strings.EqualFold(name, app.OfflineFile) || matchAny(top, name)
	}})
	for _, dir := range slices.Sorted(maps.Keys(w.dirs)) {
		if dir == "." {
			continue
		}
		parts := w.dirs[dir]
		list = append(list, target{
			path: filepath.Join(w.Dir, dir), events: fileEvents, must: true,
			names: func(name string) bool { return matchAny(parts, name) },
		})
	}
	return list
}

func matchAny(parts []string, name string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return match(part, name) })
}

// remotes are file systems that change without the kernel's knowing.
var remotes = map[int64]string{
	unix.NFS_SUPER_MAGIC: "nfs", unix.SMB_SUPER_MAGIC: "smb", unix.CIFS_SUPER_MAGIC: "cifs",
	unix.SMB2_SUPER_MAGIC: "smb", unix.FUSE_SUPER_MAGIC: "fuse", unix.V9FS_MAGIC: "9p", unix.CEPH_SUPER_MAGIC: "ceph",
}

func remote(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return ""
	}
	return remotes[st.Type]
}
