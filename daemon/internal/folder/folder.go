package folder

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
)

// Watcher watches the folders of all apps. Its zero value is of no use; see New.
type Watcher struct {
	log     hclog.Logger
	open    func() (*inotify, error)
	page    func(dir string) (*app.OfflinePage, error)
	changes chan app.FolderChange
	wake    chan struct{} // holds one: wanted has changed

	mu      sync.Mutex
	wanted  map[string]*watched // by app
	fresh   []*watched          // of them, those that do not run yet
	dropped []*watched          // that nobody wants any more
	running context.Context     // Run's; nil before and after it
	looks   sync.WaitGroup      // under way
}

// New returns a Watcher that does nothing before Run, but Look.
func New(log hclog.Logger) *Watcher {
	return &Watcher{
		log: log, open: newInotify, page: pageOf, changes: make(chan app.FolderChange),
		wake: make(chan struct{}, 1), wanted: map[string]*watched{},
	}
}

// Look returns the page that takes an app in this folder out of service; nil where
// there is none, or no folder that can be read.
func (w *Watcher) Look(dir string) *app.OfflinePage {
	page, _ := w.page(dir)
	return page
}

// Watch makes f what is watched for the app. What it shows comes by Changes.
func (w *Watcher) Watch(name string, f app.Folder) {
	w.replace(name, &watched{
		Folder: f, name: name, page: w.page, changes: w.changes, spawn: w.spawn, wake: make(chan struct{}, 1), dirs: map[string][]string{},
	})
}

// Forget watches nothing for the app any more.
func (w *Watcher) Forget(name string) { w.replace(name, nil) }

func (w *Watcher) replace(name string, f *watched) {
	w.mu.Lock()
	if old := w.wanted[name]; old != nil {
		w.dropped = append(w.dropped, old)
	}
	delete(w.wanted, name)
	if f != nil {
		w.wanted[name] = f
		w.fresh = append(w.fresh, f)
	}
	w.mu.Unlock()
	w.renew()
}

// take returns those that are to run from now on, and those that are not.
func (w *Watcher) take() (fresh, dropped []*watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh, dropped = w.fresh, w.dropped
	w.fresh, w.dropped = nil, nil
	return fresh, dropped
}

// spawn runs f, which must end with its context, as a part of Run; false where that
// has ended.
func (w *Watcher) spawn(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == nil || w.running.Err() != nil {
		return false
	}
	w.looks.Go(f)
	return true
}

func (w *Watcher) renew() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Changes tells what folders show: first what each does, then what is new. What
// nobody takes is replaced by what is newer.
func (w *Watcher) Changes() <-chan app.FolderChange { return w.changes }

// Run watches until ctx ends. Where the kernel has no watches to give, folders are
// looked at from time to time instead.
func (w *Watcher) Run(ctx context.Context) error {
	kernel, err := w.open()
	without := ""
	if err != nil {
		without = why(err)
		w.log.Warn("folders of apps are polled", "error", without)
	}
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	w.running = ctx
	w.mu.Unlock()
	defer w.leave()
	defer cancel()
	failed := make(chan error, 1)
	if kernel != nil {
		defer kernel.close()
		w.spawn(func() { failed <- kernel.read() })
	}
	for {
		fresh, dropped := w.take()
		for _, f := range fresh {
			f.kernel, f.without = kernel, without
			f.begin(ctx)
		}
		for _, f := range dropped {
			f.end()
		}
		select {
		case <-w.wake:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// leavePatience is how long the end of Run waits for looks that are under way.
const leavePatience = time.Second

// leave waits for all that Run has started, but for who looks at a folder that does
// not answer, as on a mount whose server is away: nothing brings him back.
func (w *Watcher) leave() {
	w.mu.Lock()
	w.running = nil
	w.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.looks.Wait()
	}()
	t := time.NewTimer(leavePatience)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		w.log.Warn("a folder does not answer, and is not waited for")
	}
}
