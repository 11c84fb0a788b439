package endpoint

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const epoch = 7

// fakes are all that a registry needs.
type fakes struct {
	mu     sync.Mutex
	known  map[string]app.Proxy
	events []app.EventID
	exited map[int]chan struct{} // by pid
}

func (f *fakes) Proxies() ([]app.Proxy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.known)), nil
}

func (f *fakes) SaveProxies(put []app.Proxy, remove []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range put {
		f.known[p.ID] = p
	}
	for _, id := range remove {
		delete(f.known, id)
	}
	return nil
}

func (f *fakes) Record(e app.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e.ID)
}

func (f *fakes) StartTime(pid int) uint64 { return uint64(pid) }

func (f *fakes) Wait(ctx context.Context, pid int, _ uint64) error {
	f.mu.Lock()
	if f.exited[pid] == nil {
		f.exited[pid] = make(chan struct{})
	}
	exited := f.exited[pid]
	f.mu.Unlock()
	select {
	case <-exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// exit ends a process that is waited for.
func (f *fakes) exit(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.exited[pid])
}

func (f *fakes) stored() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.known))
}

// inBubble runs a test with a registry that runs.
func inBubble(t *testing.T, known []app.Proxy, test func(t *testing.T, r *Registry, f *fakes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{known: map[string]app.Proxy{}, exited: map[int]chan struct{}{}}
		for _, p := range known {
			f.known[p.ID] = p
		}
		r, err := New(epoch, f, f, f, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		test(t, r, f)
	})
}

// connect connects a proxy that has nothing.
func connect(r *Registry, id string, pid int) *Session {
	s := r.Connect(app.Proxy{ID: id, PID: pid})
	s.Load(Load{Complete: true})
	return s
}

// web is a load of the app web that has applied a revision.
func web(revision uint64, inFlight map[app.InstanceID]int) Load {
	l := AppLoad{App: "web", Epoch: epoch, Revision: revision, Instances: map[app.InstanceID]InstanceLoad{}}
	for id, n := range inFlight {
		l.InFlight += n
		l.Instances[id] = InstanceLoad{InFlight: n}
	}
	return Load{Apps: []AppLoad{l}}
}

// publish publishes a set of the app web.
func publish(r *Registry) uint64 {
	return r.Publish(app.EndpointSet{App: "web", Drain: 30 * time.Second})
}

// waiting starts a wait and returns how it ended, once it has.
func waiting(t *testing.T, wait func(ctx context.Context) error) (ended func() bool) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		if wait(t.Context()) == nil { // else the test is over
			close(done)
		}
	}()
	return func() bool {
		synctest.Wait()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

func applied(t *testing.T, r *Registry, revision uint64) func() bool {
	t.Helper()
	return waiting(t, func(ctx context.Context) error { return r.WaitApplied(ctx, "web", revision) })
}

func drained(t *testing.T, r *Registry, id app.InstanceID, revision uint64) func() bool {
	t.Helper()
	return waiting(t, func(ctx context.Context) error { return r.WaitDrained(ctx, "web", id, revision) })
}

// expect fails the test unless a condition is what it should be.
func expect(t *testing.T, what string, got, want bool) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func TestRegistry_RevisionsCountPerAppAndOutliveIt(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		if a, b, other := publish(r), publish(r), r.Publish(app.EndpointSet{App: "other"}); a != 1 || b != 2 || other != 1 {
			t.Errorf("revisions %d, %d and %d of another app, want 1, 2 and 1", a, b, other)
		}
		set, ok := r.Current("web")
		if !ok || set.Revision != 2 || set.Epoch != epoch {
			t.Errorf("current %+v, %v", set, ok)
		}
		r.Remove("web")
		if _, ok := r.Current("web"); ok {
			t.Error("a removed app has a set")
		}
		if n := publish(r); n != 3 {
			t.Errorf("after a removal revision %d, want 3: a proxy that missed it would ignore less", n)
		}
	})
}

func TestRegistry_WithoutProxiesNothingIsWaitedFor(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		n := publish(r)
		expect(t, "applied", applied(t, r, n)(), true)
		expect(t, "drained", drained(t, r, "i", n)(), true)
	})
}

func TestWaitApplied_NeedsEveryProxy(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		a, b := connect(r, "a", 1), connect(r, "b", 2)
		publish(r)
		n := publish(r)
		done := applied(t, r, n)
		a.Load(web(n, nil))
		expect(t, "after one of two", done(), false)
		b.Load(web(n-1, nil))
		expect(t, "after an older revision", done(), false)
		b.Load(Load{Apps: []AppLoad{{App: "web", Epoch: epoch - 1, Revision: n + 5}}})
		expect(t, "after another epoch's", done(), false)
		b.Load(web(n+1, nil))
		expect(t, "after both", done(), true)
	})
}

func TestWaitApplied_ARemovalNeedsEveryProxyToo(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		a := connect(r, "a", 1)
		n := publish(r)
		a.Load(web(n, nil))
		r.Remove("web")
		done := applied(t, r, n+1)
		expect(t, "before the proxy removed it", done(), false)
		a.Load(Load{Removed: []string{"web"}})
		expect(t, "after it", done(), true)

		again := applied(t, r, publish(r))
		expect(t, "the app that came back, by the earlier removal", again(), false)
	})
}

func TestWaitDrained_NeedsTheRevisionAndNothingInFlight(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		a := connect(r, "a", 1)
		n := publish(r)
		done := drained(t, r, "old", n)
		a.Load(web(n-1, nil))
		expect(t, "idle, of the old revision: it may pick the instance yet", done(), false)
		a.Load(web(n, map[app.InstanceID]int{"old": 2, "new": 1}))
		expect(t, "with two in flight", done(), false)
		if got := r.InFlight("web", "old"); got != 2 {
			t.Errorf("in flight %d, want 2", got)
		}
		a.Load(web(n, map[app.InstanceID]int{"new": 1}))
		expect(t, "with none in flight", done(), true)
	})
}

func TestWaitDrained_OfARemovedApp(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		a := connect(r, "a", 1)
		n := publish(r)
		a.Load(web(n, map[app.InstanceID]int{"old": 1}))
		r.Remove("web")
		done := drained(t, r, "old", n)
		expect(t, "with one in flight", done(), false)
		a.Load(Load{Removed: []string{"web"}})
		expect(t, "removed there", done(), true)
	})
}

func TestWait_EndsWithItsContext(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		connect(r, "a", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.WaitApplied(ctx, "web", publish(r)); err == nil {
			t.Error("it was said to be applied")
		}
	})
}

func TestProxy_ThatHasNotToldItsLoadIsWaitedFor(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		s := r.Connect(app.Proxy{ID: "a", PID: 1})
		r.Remove("web")
		done := drained(t, r, "old", 1)
		expect(t, "before its complete load", done(), false)
		s.Load(Load{Complete: true})
		expect(t, "after it", done(), true)
	})
}

func TestProxy_ThatIsAwayIsWaitedForUntilStopDrain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, f *fakes) {
		s := connect(r, "a", 1)
		n := r.Publish(app.EndpointSet{App: "web", Drain: 10 * time.Second})
		s.Close()
		start := time.Now()
		if err := r.WaitApplied(t.Context(), "web", n); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("it was waited for %v, want 10s", d)
		}
		if !slices.Equal(f.stored(), []string{"a"}) {
			t.Error("it is forgotten before the least time")
		}
		time.Sleep(leastAway)
		synctest.Wait()
		if len(f.stored()) != 0 || len(r.Proxies()) != 0 {
			t.Errorf("it is still known: %v", r.Proxies())
		}
	})
}

func TestProxy_ThatIsAwayKeepsWhatItAcknowledged(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		s := connect(r, "a", 1)
		n := publish(r)
		s.Load(web(n, nil))
		s.Close()
		expect(t, "drained", drained(t, r, "old", n)(), true)
	})
}

func TestProxy_WhoseProcessIsGoneIsForgottenAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, f *fakes) {
		s := connect(r, "a", 1)
		done := applied(t, r, publish(r))
		s.Close()
		expect(t, "while it is away", done(), false)
		f.exit(1)
		expect(t, "once its process is gone", done(), true)
		if want := []app.EventID{app.EventProxyConnected, app.EventProxyGone}; !slices.Equal(f.events, want) {
			t.Errorf("events %v, want %v", f.events, want)
		}
	})
}

func TestProxy_ThatComesBackAsANewProcessIsNotForgottenForTheOldOne(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, f *fakes) {
		s := connect(r, "a", 1)
		s.Close()
		synctest.Wait()
		second := connect(r, "a", 2)
		f.exit(1)
		synctest.Wait()
		if p := r.Proxies(); len(p) != 1 || !p[0].Connected || p[0].PID != 2 {
			t.Errorf("proxies %+v, want the second one", p)
		}
		// What the first session still says or does is nobody's.
		s.Load(web(99, map[app.InstanceID]int{"i": 5}))
		s.Close()
		s.Goodbye()
		if got := r.InFlight("web", "i"); got != 0 || !r.Proxies()[0].Connected {
			t.Errorf("an ended session counts: %d in flight, %+v", got, r.Proxies())
		}
		second.Close()
		synctest.Wait()
		f.exit(2)
		synctest.Wait()
		if p := r.Proxies(); len(p) != 0 {
			t.Errorf("proxies %+v, want none", p)
		}
	})
}

func TestProxy_GoodbyeForgetsIt(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, f *fakes) {
		s := connect(r, "a", 1)
		done := applied(t, r, publish(r))
		s.Goodbye()
		expect(t, "after its goodbye", done(), true)
		s.Close()
		synctest.Wait()
		if len(f.stored()) != 0 {
			t.Errorf("stored %v, want none", f.stored())
		}
	})
}

func TestProxy_OfAnEarlierDaemonIsWaitedFor(t *testing.T) {
	inBubble(t, []app.Proxy{{ID: "a", PID: 1, StartTime: 1}}, func(t *testing.T, r *Registry, f *fakes) {
		n := publish(r)
		done := applied(t, r, n)
		expect(t, "before it is back", done(), false)
		if _, idle := r.IdleSince("web"); idle {
			t.Error("the idle clock runs while a known proxy is away")
		}
		s := r.Connect(app.Proxy{ID: "a", PID: 1})
		l := web(n, nil)
		l.Complete = true
		s.Load(l)
		expect(t, "once it is back", done(), true)
	})
}

func TestIdleSince(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, f *fakes) {
		idleFor := func() time.Duration {
			t.Helper()
			since, ok := r.IdleSince("web")
			if !ok {
				return -1
			}
			return time.Since(since)
		}
		check := func(what string, want time.Duration) {
			t.Helper()
			if got := idleFor(); got != want {
				t.Errorf("%s: idle for %v, want %v", what, got, want)
			}
		}
		time.Sleep(time.Minute)
		check("without a proxy", time.Minute)
		s := connect(r, "a", 1)
		publish(r)
		time.Sleep(time.Minute)
		check("without a request", time.Minute)

		s.Load(web(1, map[app.InstanceID]int{"i": 1}))
		time.Sleep(time.Minute)
		check("with one in flight", -1)
		s.Load(web(1, nil))
		time.Sleep(time.Second)
		check("after it", time.Second)

		s.Load(Load{Apps: []AppLoad{{App: "web", Epoch: epoch, Revision: 1, Queued: 1}}})
		check("with one that waits", -1)
		s.Load(Load{Apps: []AppLoad{{App: "web", Epoch: epoch, Revision: 1, Requests: 5}}})
		time.Sleep(time.Second)
		s.Load(Load{Apps: []AppLoad{{App: "web", Epoch: epoch, Revision: 2, Requests: 5}}})
		check("told again without a request", time.Second)
		s.Load(Load{Apps: []AppLoad{{App: "web", Epoch: epoch, Revision: 2, Requests: 6}}})
		check("after one that came and went", 0)

		s.Close()
		check("while the proxy is away", -1)
		f.exitSoon(1)
		time.Sleep(time.Second)
		check("a second after it is gone", time.Second)
	})
}

// exitSoon ends a process as soon as somebody waits for it.
func (f *fakes) exitSoon(pid int) {
	synctest.Wait()
	f.exit(pid)
	synctest.Wait()
}

func TestRegistry_SyncedOpensOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		select {
		case <-r.Ready():
			t.Error("it is ready before it is synced")
		default:
		}
		r.Synced()
		r.Synced()
		<-r.Ready()
	})
}
