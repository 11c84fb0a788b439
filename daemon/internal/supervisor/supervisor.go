package supervisor

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/failpoint"
	"github.com/roostd/roost/daemon/internal/watch"
)

// Config is what a Supervisor needs.
type Config struct {
	Launcher  Launcher
	Prober    Prober
	Publisher Publisher
	Watcher   Watcher
	Recorder  Recorder
	Store     Store
	Log       hclog.Logger
	// PortLow and PortHigh bound the ports given to apps, both included.
	PortLow, PortHigh int
	// StartParallelism is how many instances may be starting at once.
	StartParallelism int
}

// Supervisor holds all apps.
type Supervisor struct {
	*shared
	ops    chan func()
	ready  chan struct{} // closed once reconciled with the launcher
	done   chan struct{} // closed when Run has ended
	detach chan struct{} // closed by Detach
	once   sync.Once
	wg     sync.WaitGroup // controllers

	questions questions // to folders

	mu          sync.Mutex
	controllers map[string]*controller // of every app, for what does not change specs

	// The rest belongs to Run's goroutine.
	entries   map[string]*entry
	farewells []string        // rollouts of removed apps, oldest first
	closing   bool            // refuse writes
	ctx       context.Context // of the controllers
}

// entry is an app as the supervisor's goroutine knows it.
type entry struct {
	versioned
	ctl     *controller
	watched app.Folder // what the watcher was asked for
	removed bool       // its last instances are draining
	rollout string     // the newest; only this one may write down its end
}

// New returns a Supervisor that does nothing before Run.
func New(cfg Config) *Supervisor {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	s := &Supervisor{
		ops: make(chan func()), ready: make(chan struct{}), done: make(chan struct{}), detach: make(chan struct{}),
		controllers: map[string]*controller{}, entries: map[string]*entry{}, questions: questions{open: map[string]int{}},
	}
	s.shared = &shared{
		cfg: cfg, gate: newGate(cfg.StartParallelism), ports: newPortPool(cfg.PortLow, cfg.PortHigh),
		apps:      watch.NewHub[string, app.App](),
		instances: watch.NewHub[app.InstanceID, app.Instance](),
		rollouts:  watch.NewHub[string, app.Rollout](),
		commit:    s.commitRollout, finish: s.finishRemoval, stopUnasked: s.stopForRapidFail,
	}
	return s
}

// Apps is every app, by name.
func (s *Supervisor) Apps() *watch.Hub[string, app.App] { return s.apps }

// Instances is every live instance, and the last 20 of each app that ended.
func (s *Supervisor) Instances() *watch.Hub[app.InstanceID, app.Instance] { return s.instances }

// Rollouts is every rollout under way, and the last 20 of each app.
func (s *Supervisor) Rollouts() *watch.Hub[string, app.Rollout] { return s.rollouts }

// Ready is closed once the supervisor knows its instances again.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// Detach ends Run and leaves every process alone.
func (s *Supervisor) Detach() { s.once.Do(func() { close(s.detach) }) }

// Run takes over what an earlier daemon left, then takes one write after the
// other. It returns when ctx ends or after Detach, once every goroutine that it
// started has ended; processes are left alone: StopAll stops them.
func (s *Supervisor) Run(ctx context.Context) error {
	defer close(s.done)
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	s.ctx = ctx
	if err := s.reconcile(ctx); err != nil {
		return err
	}
	failpoint.Here(failpoint.Reconciled)
	s.cfg.Publisher.Synced()
	close(s.ready)
	for _, e := range s.entries {
		e.ctl.post(boot{})
	}
	for {
		select {
		case op := <-s.ops:
			op()
		case change := <-s.cfg.Watcher.Changes():
			s.folderChanged(change)
		case <-s.detach:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// ask has f done by Run's goroutine and returns what it says. A caller that
// leaves before its turn changes nothing; after that it cancels nothing.
func ask[T any](ctx context.Context, s *Supervisor, f func() (T, error)) (T, error) {
	var (
		result T
		err    error
	)
	finished := make(chan struct{})
	select {
	case s.ops <- func() { defer close(finished); result, err = f() }:
		<-finished
		return result, err
	case <-s.done:
		return result, shuttingDown("")
	case <-ctx.Done():
		return result, gaveUpWaiting(ctx)
	}
}

func gaveUpWaiting(ctx context.Context) *app.Fault {
	kind := app.Unavailable
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = app.Timeout
	}
	return &app.Fault{Kind: kind, Reason: app.ReasonInternal, Message: "the caller left before an answer", Err: context.Cause(ctx)}
}

// launchController starts the controller of an app that has no instances.
func (s *Supervisor) launchController(e *entry) {
	e.ctl = newController(s.ctx, s.shared, e.versioned)
	e.ctl.publishAnew()
	s.runController(e)
}

func (s *Supervisor) runController(e *entry) {
	s.mu.Lock()
	s.controllers[e.Name] = e.ctl
	s.mu.Unlock()
	s.wg.Go(e.ctl.run)
}

// find returns an app's controller, once all is reconciled.
func (s *Supervisor) find(ctx context.Context, name string) (*controller, error) {
	select {
	case <-s.ready:
	case <-s.done:
		return nil, shuttingDown(name)
	case <-ctx.Done():
		return nil, gaveUpWaiting(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.controllers[name]; c != nil {
		return c, nil
	}
	return nil, notFound(name)
}

// tell puts what is stored of an app into effect.
func (s *Supervisor) tell(e *entry, kind writeKind) written {
	w := write{kind: kind, stored: e.versioned, reply: make(chan written, 1)}
	if !e.ctl.post(w) {
		return written{app: app.App{Stored: e.Stored}}
	}
	select {
	case r := <-w.reply:
		e.rollout = r.rollout
		failpoint.Here(failpoint.Told)
		return r
	case <-e.ctl.ctx.Done():
		return written{app: app.App{Stored: e.Stored}}
	}
}

// store writes apps down and makes them the entries' newest versions.
func (s *Supervisor) store(put []app.Stored, remove []string) error {
	if err := s.cfg.Store.Save(put, remove); err != nil {
		return err
	}
	var changed []*entry
	for _, a := range put {
		e := s.entries[a.Name]
		if e == nil {
			e = &entry{}
			s.entries[a.Name] = e
		}
		e.versioned = versioned{Stored: a, version: e.version + 1, folder: e.folder, look: e.look}
		e.removed = false
		changed = append(changed, e)
	}
	for _, turned := range s.watchFolders(changed) {
		s.recordPage(turned.entry, turned.was)
	}
	for _, name := range remove {
		e := s.entries[name]
		e.removed, e.watched, e.folder = true, app.Folder{}, app.FolderState{}
		s.cfg.Watcher.Forget(name)
	}
	s.reserveFixedPorts()
	return nil
}

// reserveFixedPorts keeps the dynamic ports off what apps have for themselves.
func (s *Supervisor) reserveFixedPorts() {
	fixed := map[int]bool{}
	for _, e := range s.entries {
		if e.removed {
			continue
		}
		for _, g := range []app.Generation{desiredOf(e.Stored), servingOf(e.Stored)} {
			if g.Spec.Listen.Port != 0 {
				fixed[g.Spec.Listen.Port] = true
			}
		}
	}
	s.ports.setFixed(fixed)
}

// known returns the entry of an app that is not removed.
func (s *Supervisor) known(name string) (*entry, error) {
	if s.closing {
		return nil, shuttingDown(name)
	}
	e := s.entries[name]
	if e == nil || e.removed {
		return nil, notFound(name)
	}
	return e, nil
}

// storing makes an error of the store one that crosses package borders.
func storing(name string, err error) error {
	return &app.Fault{Kind: app.Internal, Reason: app.ReasonInternal, App: name, Message: "nothing was changed: the state could not be written", Err: err}
}
