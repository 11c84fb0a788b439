package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// script is how a fake process behaves.
type script struct {
	refuse    error         // of Launch
	boot      time.Duration // until it is ready; negative: never
	unfit     error         // of WaitReady, after boot
	exitAfter time.Duration // since its start; 0: never
	code      int
	stop      time.Duration // from the signal to its end; negative: it ignores it
	linger    time.Duration // from the leader's exit to the last of its tree
}

// fakeHost is the machine: it launches and probes, and outlives a supervisor.
type fakeHost struct {
	mu        sync.Mutex
	script    func(l app.Launch) script
	processes []*fakeProcess // all that ever were, oldest first
	launches  int
	dirs      map[string]string // links
	strangers map[int]string    // ports in use by others
	checks    int
	parallel  int // most starts at once
	starting  int
}

func newHost() *fakeHost {
	return &fakeHost{
		script: func(app.Launch) script { return script{boot: time.Second} },
		dirs:   map[string]string{}, strangers: map[int]string{},
	}
}

// behave makes every later process follow s.
func (h *fakeHost) behave(s script) { h.behaveBy(func(app.Launch) script { return s }) }

func (h *fakeHost) behaveBy(f func(l app.Launch) script) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script = f
}

func (h *fakeHost) Launch(_ context.Context, l app.Launch) (Process, error) {
	h.mu.Lock()
	h.launches++
	s := h.script(l)
	n := len(h.processes) + 1
	h.mu.Unlock()
	if s.refuse != nil {
		return nil, s.refuse
	}
	p := &fakeProcess{
		host: h, script: s, launch: l,
		info: app.ProcessInfo{
			ID: l.ID, App: l.Spec.Name, Generation: l.Generation, PID: n, StartTime: time.Now(),
			Token: l.Token, Notes: maps.Clone(l.Notes), Address: fmt.Sprintf("127.0.0.1:%d", l.Port),
		},
		exited: make(chan struct{}), gone: make(chan struct{}), notified: make(chan struct{}),
	}
	if s.exitAfter > 0 {
		p.timer = time.AfterFunc(s.exitAfter, func() { p.end(app.Exit{Code: s.code}) })
	}
	h.mu.Lock()
	h.processes = append(h.processes, p)
	h.starting++
	h.parallel = max(h.parallel, h.starting)
	h.mu.Unlock()
	return p, nil
}

func (h *fakeHost) Recover(context.Context) ([]Process, error) {
	var list []Process
	for _, p := range h.all() {
		if !p.isForgotten() {
			list = append(list, p)
		}
	}
	return list, nil
}

func (h *fakeHost) all() []*fakeProcess {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.processes)
}

// alive are the processes that have not ended.
func (h *fakeHost) alive() []*fakeProcess {
	return slices.DeleteFunc(h.all(), func(p *fakeProcess) bool { return closed(p.gone) })
}

func (h *fakeHost) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.launches
}

func (h *fakeHost) ResolveDir(dir string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to, ok := h.dirs[dir]
	switch {
	case ok && to == "":
		return "", fmt.Errorf("%s does not exist", dir)
	case ok:
		return to, nil
	}
	return dir, nil
}

func (h *fakeHost) link(dir, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dirs[dir] = to
}

func (h *fakeHost) Check(s app.Spec) []app.Violation {
	if s.Command[0] == "missing" {
		return []app.Violation{{Field: "command", Message: "missing is not in PATH"}}
	}
	return nil
}

func (h *fakeHost) WaitReady(ctx context.Context, p Process, _ app.Launch) (string, error) {
	f := p.(*fakeProcess)
	defer func() {
		h.mu.Lock()
		h.starting--
		h.mu.Unlock()
	}()
	if f.script.boot < 0 {
		<-ctx.Done()
		return "", &app.StartError{Step: "timeout", Message: "nothing listens", Timeout: errors.Is(ctx.Err(), context.DeadlineExceeded)}
	}
	t := time.NewTimer(f.script.boot - time.Since(f.info.StartTime))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if f.script.unfit != nil {
		return "", f.script.unfit
	}
	return f.Info().Address, nil
}

func (h *fakeHost) PortOwner(port int) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	owner, ok := h.strangers[port]
	return owner, ok
}

// fakeProber asks the processes of a host.
type fakeProber struct{ *fakeHost }

func (f fakeProber) Check(_ context.Context, p Process, _ app.Launch, _ string) error {
	f.mu.Lock()
	f.checks++
	f.mu.Unlock()
	fp := p.(*fakeProcess)
	fp.mu.Lock()
	defer fp.mu.Unlock()
	if closed(fp.exited) {
		return errors.New("connection refused")
	}
	return fp.sick
}

// fakeProcess follows its script.
type fakeProcess struct {
	host     *fakeHost
	script   script
	launch   app.Launch
	timer    *time.Timer
	exited   chan struct{}
	gone     chan struct{}
	notified chan struct{}

	mu        sync.Mutex
	info      app.ProcessInfo
	exit      app.Exit
	sick      error // of a check
	signals   []syscall.Signal
	killed    bool
	forgotten bool
}

// end ends the leader, and its tree after what the script says.
func (p *fakeProcess) end(e app.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if closed(p.exited) {
		return
	}
	e.Time = time.Now()
	p.exit = e
	close(p.exited)
	if p.script.linger == 0 {
		close(p.gone)
		return
	}
	time.AfterFunc(p.script.linger, func() { close(p.gone) })
}

// crash ends the process by itself.
func (p *fakeProcess) crash() { p.end(app.Exit{Signal: syscall.SIGSEGV}) }

func (p *fakeProcess) fallSick(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick = err
}

func (p *fakeProcess) Info() app.ProcessInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	info := p.info
	info.Notes = maps.Clone(info.Notes)
	return info
}

func (p *fakeProcess) Exited() <-chan struct{} { return p.exited }

func (p *fakeProcess) Exit() app.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

func (p *fakeProcess) Gone() <-chan struct{} { return p.gone }

func (p *fakeProcess) Signal(_ context.Context, sig syscall.Signal) error {
	p.mu.Lock()
	p.signals = append(p.signals, sig)
	p.mu.Unlock()
	switch {
	case sig != syscall.SIGTERM || p.script.stop < 0:
	case p.script.stop == 0:
		p.end(app.Exit{})
	default:
		time.AfterFunc(p.script.stop, func() { p.end(app.Exit{}) })
	}
	return nil
}

func (p *fakeProcess) wasSignalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.signals) > 0
}

func (p *fakeProcess) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

func (p *fakeProcess) Kill(context.Context) error {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.end(app.Exit{Signal: syscall.SIGKILL})
	return nil
}

func (p *fakeProcess) Exec(context.Context, []string, time.Duration) error { return nil }
func (p *fakeProcess) Pids(context.Context) ([]int, error)                 { return nil, nil }
func (p *fakeProcess) Notified() <-chan struct{}                           { return p.notified }

func (p *fakeProcess) Annotate(_ context.Context, notes map[string]string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.info.Notes == nil {
		p.info.Notes = map[string]string{}
	}
	maps.Copy(p.info.Notes, notes)
	return nil
}

func (p *fakeProcess) Forget(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten = true
	return nil
}

func (p *fakeProcess) isForgotten() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forgotten
}

// fakeProxies is the publisher, and the proxies behind it.
type fakeProxies struct {
	mu       sync.Mutex
	sets     map[string]app.EndpointSet
	counters map[string]uint64
	history  []app.EndpointSet
	inFlight map[app.InstanceID]int
	held     bool // they do not acknowledge
	idle     time.Time
	busy     bool
	synced   bool
	changed  chan struct{}
}

func newProxies() *fakeProxies {
	return &fakeProxies{
		sets: map[string]app.EndpointSet{}, counters: map[string]uint64{},
		inFlight: map[app.InstanceID]int{}, changed: make(chan struct{}),
	}
}

// update changes what the proxies say.
func (f *fakeProxies) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeProxies) Publish(set app.EndpointSet) uint64 {
	f.update(func() {
		f.counters[set.App]++
		set.Epoch, set.Revision = 1, f.counters[set.App]
		f.sets[set.App] = set
		f.history = append(f.history, set)
	})
	return set.Revision
}

func (f *fakeProxies) Remove(name string) { f.update(func() { delete(f.sets, name) }) }

func (f *fakeProxies) Current(name string) (app.EndpointSet, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set, ok := f.sets[name]
	return set, ok
}

func (f *fakeProxies) Synced() { f.update(func() { f.synced = true }) }

func (f *fakeProxies) wait(ctx context.Context, holds func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := !f.held && holds(), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeProxies) WaitApplied(ctx context.Context, _ string, _ uint64) error {
	return f.wait(ctx, func() bool { return true })
}

func (f *fakeProxies) WaitDrained(ctx context.Context, name string, id app.InstanceID, revision uint64) error {
	return f.wait(ctx, func() bool { return f.inFlight[id] == 0 && f.counters[name] >= revision })
}

func (f *fakeProxies) IdleSince(string) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.idle, !f.busy
}

func (f *fakeProxies) InFlight(_ string, id app.InstanceID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inFlight[id]
}

// ready are the app's endpoints that take requests.
func (f *fakeProxies) ready(name string) []app.Endpoint {
	set, _ := f.Current(name)
	return slices.DeleteFunc(slices.Clone(set.Endpoints), func(e app.Endpoint) bool { return e.Draining })
}

// fakeRecorder keeps events.
type fakeRecorder struct {
	mu     sync.Mutex
	events []app.Event
}

func (r *fakeRecorder) Record(e app.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Time = time.Now()
	r.events = append(r.events, e)
}

func (r *fakeRecorder) OutputTail(_ string, id app.InstanceID, _ int) string {
	return "output of " + string(id)
}

func (r *fakeRecorder) count(id app.EventID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.ID == id {
			n++
		}
	}
	return n
}

// fakeStore keeps apps as JSON, as the real one does.
type fakeStore struct {
	mu       sync.Mutex
	apps     map[string][]byte
	counters map[string]int64
	broken   error
	saves    int
}

func newStore() *fakeStore {
	return &fakeStore{apps: map[string][]byte{}, counters: map[string]int64{}}
}

func (s *fakeStore) Load() ([]app.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []app.Stored
	for _, name := range slices.Sorted(maps.Keys(s.apps)) {
		var a app.Stored
		if err := json.Unmarshal(s.apps[name], &a); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func (s *fakeStore) Save(put []app.Stored, remove []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	s.saves++
	for _, a := range put {
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		s.apps[a.Name] = b
		for _, g := range a.Generations {
			s.counters[a.Name] = max(s.counters[a.Name], g.Number)
		}
	}
	for _, name := range remove {
		delete(s.apps, name)
	}
	return nil
}

func (s *fakeStore) NextGeneration(name string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters[name] + 1, nil
}

func (s *fakeStore) get(name string) app.Stored {
	list, _ := s.Load()
	for _, a := range list {
		if a.Name == name {
			return a
		}
	}
	return app.Stored{}
}

func (s *fakeStore) break_(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}
