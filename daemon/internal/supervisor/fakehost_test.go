package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// script is how a fake process behaves.
type script struct {
	refuse     error         // of Launch
	boot       time.Duration // until it is ready; negative: never
	unfit      error         // of WaitReady, after boot
	exitAfter  time.Duration // since its start; 0: never
	code       int
	stop       time.Duration // from the signal to its end; negative: it ignores it
	linger     time.Duration // from the leader's exit to the last of its tree
	nowhere    bool          // it listens nowhere
	probe      time.Duration // of a check
	sick       error         // of each check
	flaps      bool          // each second check fails
	warmup     int           // the status of its answer, after three seconds; 0: none
	shutdown   func(ctx context.Context, p *fakeProcess) (int, error)
	conditions map[string]string
}

// fakeHost is the machine: it launches and probes, and outlives a supervisor.
type fakeHost struct {
	limited    []string // by LimitLogs: app, max_size, max_files
	limitFails bool     // once
	mu         sync.Mutex
	script     func(l app.Launch) script
	processes  []*fakeProcess // all that ever were, oldest first
	launches   int
	dirs       map[string]string // links
	strangers  map[int]string    // ports in use by others
	checks     int
	warmed     []string
	checked    app.Launch // last
	parallel   int        // most starts at once
	starting   int
	dead       chan struct{} // while it is not nil, no folder answers before it is closed
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
			Token: l.Token, Notes: maps.Clone(l.Notes), Address: fmt.Sprintf("127.0.0.1:%d", l.Port), Conditions: s.conditions,
		},
		sick:   s.sick,
		exited: make(chan struct{}), gone: make(chan struct{}), notified: make(chan struct{}),
	}
	if s.exitAfter > 0 {
		p.timer = time.AfterFunc(s.exitAfter, func() { p.end(app.Exit{Code: s.code}) })
	}
	if s.nowhere {
		p.info.Address = ""
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

func (h *fakeHost) LimitLogs(_ context.Context, name string, l app.Logs) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limitFails {
		h.limitFails = false
		return errors.New("there is no keeper")
	}
	h.limited = append(h.limited, fmt.Sprintf("%s %d %d", name, l.MaxSize, *l.MaxFiles))
	return nil
}

func (h *fakeHost) ResolveDir(dir string) (string, error) {
	if h.dead != nil {
		<-h.dead
	}
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

func (h *fakeHost) Check(s app.Spec) (faults, warnings []app.Violation) {
	if h.dead != nil {
		<-h.dead
	}
	if s.Command[0] == "missing" {
		warnings = append(warnings, app.Violation{Field: "command", Message: "missing is not in PATH"})
	}
	if s.Listen.Mode == app.ListenUnix {
		faults = append(faults, app.Violation{Field: "listen.mode", Message: "the path is too long"})
	}
	return faults, warnings
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

func (h *fakeHost) PortFree(port int) bool {
	_, busy := h.PortOwner(port)
	return !busy
}

func (h *fakeHost) PortOwner(port int) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	owner, ok := h.strangers[port]
	return owner, ok
}

func (h *fakeHost) WarmUp(ctx context.Context, p Process, l app.Launch, address string) (int, error) {
	f := p.(*fakeProcess)
	h.mu.Lock()
	h.warmed = append(h.warmed, l.Spec.Start.Warmup+" at "+address)
	h.mu.Unlock()
	if f.script.warmup == 0 {
		<-ctx.Done()
		return 0, &app.StartError{Step: "warmup", Message: "no answer", Timeout: errors.Is(ctx.Err(), context.DeadlineExceeded)}
	}
	t := time.NewTimer(3 * time.Second)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return f.script.warmup, nil
}

// fakeProber asks the processes of a host.
type fakeProber struct{ *fakeHost }

func (f fakeProber) Check(ctx context.Context, p Process, l app.Launch, _ string) error {
	f.mu.Lock()
	f.checks++
	f.checked = l
	f.mu.Unlock()
	fp := p.(*fakeProcess)
	t := time.NewTimer(fp.script.probe)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	fp.mu.Lock()
	defer fp.mu.Unlock()
	if closed(fp.exited) {
		return errors.New("connection refused")
	}
	if fp.checked++; fp.script.flaps && fp.checked%2 == 1 {
		return errors.New("connection refused")
	}
	return fp.sick
}

func (f fakeProber) RequestShutdown(ctx context.Context, p Process, l app.Launch, address string) (int, error) {
	fp := p.(*fakeProcess)
	if fp.script.shutdown == nil || address == "" || l.Token != fp.launch.Token {
		return 0, errors.New("connection refused")
	}
	return fp.script.shutdown(ctx, fp)
}
