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

	mu     sync.Mutex
	wanted map[string]*watched // by app
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
	w.mu.Lock()
	w.wanted[name] = &watched{Folder: f, name: name, page: w.page, changes: w.changes, wake: make(chan struct{}, 1), dirs: map[string][]string{}}
	w.mu.Unlock()
	w.renew()
}

// Forget watches nothing for the app any more.
func (w *Watcher) Forget(name string) {
	w.mu.Lock()
	delete(w.wanted, name)
	w.mu.Unlock()
	w.renew()
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
	var wg sync.WaitGroup
	defer w.leave(&wg)
	defer cancel()
	failed := make(chan error, 1)
	if kernel != nil {
		defer kernel.close()
		wg.Go(func() { failed <- kernel.read() })
	}
	running := map[*watched]context.CancelFunc{}
	for {
		for f := range w.begin(running) {
			one, end := context.WithCancel(ctx)
			f.kernel, f.without = kernel, without
			running[f] = end
			wg.Go(func() { f.run(one) })
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
func (w *Watcher) leave(wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	t := time.NewTimer(leavePatience)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		w.log.Warn("a folder does not answer, and is not waited for")
	}
}

// begin ends those that are not wanted any more, and returns those that do not run
// yet.
func (w *Watcher) begin(running map[*watched]context.CancelFunc) map[*watched]bool {
	fresh := map[*watched]bool{}
	w.mu.Lock()
	for _, f := range w.wanted {
		fresh[f] = true
	}
	w.mu.Unlock()
	for f, end := range running {
		if !fresh[f] {
			end()
			delete(running, f)
		}
		delete(fresh, f)
	}
	return fresh
}
