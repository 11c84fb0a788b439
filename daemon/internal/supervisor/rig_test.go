package supervisor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// rig is a supervisor on a fake machine, in a bubble.
type rig struct {
	*Supervisor
	t        testing.TB
	host     *fakeHost
	proxies  *fakeProxies
	folders  *fakeFolders
	recorder *fakeRecorder
	disk     *fakeStore
	end      func()
}

// inBubble runs f with a running supervisor in a bubble of fake time.
func inBubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, host: newHost(), proxies: newProxies(), folders: newFolders(), recorder: &fakeRecorder{}, disk: newStore()}
		r.boot()
		defer func() { r.end() }()
		f(t, r)
	})
}

// boot starts a supervisor, a new daemon on the same machine.
func (r *rig) boot() {
	r.t.Helper()
	r.start()
	synctest.Wait()
}

// start does so in real time, too.
func (r *rig) start() {
	r.t.Helper()
	r.Supervisor = New(Config{
		Launcher: r.host, Prober: fakeProber{r.host}, Publisher: r.proxies, Watcher: r.folders, Recorder: r.recorder, Store: r.disk,
		PortLow: 20000, PortHigh: 20099, StartParallelism: 4,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.end = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
	<-r.Ready()
}

// reboot kills the daemon and starts another.
func (r *rig) reboot() {
	r.end()
	r.boot()
}

// spec is a minimal app's, with changes.
func spec(name string, changes ...func(s *app.Spec)) app.Spec {
	s := app.Spec{Name: name, Command: []string{"serve"}, Dir: "/srv/" + name, Routes: []app.Route{{Host: name + ".test"}}}
	for _, c := range changes {
		c(&s)
	}
	return s
}

func instances(n int) func(*app.Spec)  { return func(s *app.Spec) { s.Instances = &n } }
func version(v string) func(*app.Spec) { return func(s *app.Spec) { s.Release = v } }
func onBoot(s *app.Spec)               { s.Start.When = app.StartOnBoot }
func manual(s *app.Spec)               { s.Start.When = app.StartManual }
func noOverlap(s *app.Spec)            { s.Recycle.Overlap = new(false) }
func idleAfter(d time.Duration) func(*app.Spec) {
	return func(s *app.Spec) { s.Idle.After = d }
}
func restart(w app.RestartWhen) func(*app.Spec) {
	return func(s *app.Spec) { s.Restart.When = w }
}

func (r *rig) apply(specs ...app.Spec) []ApplyResult {
	r.t.Helper()
	res, err := r.Apply(ctx, ApplyRequest{Specs: specs, Actor: "test"})
	if err != nil {
		r.t.Fatalf("apply: %v", err)
	}
	synctest.Wait()
	return res
}

func (r *rig) activate(name string, failed ...app.InstanceID) (app.EndpointSet, *app.Fault) {
	set, err := r.Activate(context.Background(), name, 0, 0, failed)
	if err == nil {
		return set, nil
	}
	f, ok := errors.AsType[*app.Fault](err)
	if !ok {
		r.t.Errorf("activate: %T %v", err, err)
	}
	return set, f
}

// up applies specs and activates each.
func (r *rig) up(specs ...app.Spec) {
	r.t.Helper()
	r.apply(specs...)
	for _, s := range specs {
		if _, f := r.activate(s.Name); f != nil {
			r.t.Fatalf("activate %s: %v", s.Name, f)
		}
	}
	for _, s := range specs {
		r.until("every instance of "+s.Name+" is ready", func() bool { return r.app(s.Name).State == app.StateRunning })
	}
}

func (r *rig) app(name string) app.App {
	r.t.Helper()
	synctest.Wait()
	a, ok := r.Apps().Get(name)
	if !ok {
		r.t.Fatalf("no app %s", name)
	}
	return a
}

func (r *rig) rollout(id string) app.Rollout {
	r.t.Helper()
	synctest.Wait()
	roll, ok := r.Rollouts().Get(id)
	if !ok {
		r.t.Fatalf("no rollout %q", id)
	}
	return roll
}

// ends waits until a rollout has ended and checks how.
func (r *rig) ends(id string, want app.RolloutPhase) app.Rollout {
	r.t.Helper()
	r.until("the rollout ends", func() bool { return r.rollout(id).Phase.Done() })
	got := r.rollout(id)
	if got.Phase != want {
		r.t.Fatalf("rollout ended as %d, want %d: %s", got.Phase, want, got.Message)
	}
	return got
}

// until waits in fake time until is is true.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	for range 100_000 {
		synctest.Wait()
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("never: %s", what)
}

// pass lets time go by.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// alive are the processes of the host, once all that could happen has.
func (r *rig) alive() []*fakeProcess {
	synctest.Wait()
	return r.host.alive()
}

func (r *rig) wantAlive(n int) []*fakeProcess {
	r.t.Helper()
	list := r.alive()
	if len(list) != n {
		r.t.Fatalf("%d processes are alive, want %d", len(list), n)
	}
	return list
}

func (r *rig) wantState(name string, want app.State) {
	r.t.Helper()
	if got := r.app(name).State; got != want {
		r.t.Fatalf("%s is %s, want %s", name, got, want)
	}
}

func wantReason(t testing.TB, f *app.Fault, want app.Reason) {
	t.Helper()
	if f == nil || f.Reason != want {
		t.Fatalf("fault %+v, want %s", f, want)
	}
}

func testContext(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

var ctx = context.Background()
