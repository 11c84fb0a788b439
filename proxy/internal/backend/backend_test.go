package backend

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// notes collects what the registry wants reported.
type notes struct {
	mu   sync.Mutex
	apps []string
}

func (n *notes) add(app string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.apps = append(n.apps, app)
}

func (n *notes) take() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := len(n.apps)
	n.apps = nil
	return count
}

func set(epoch, revision uint64, eps ...Endpoint) Set {
	return Set{App: "a", Epoch: epoch, Revision: revision, Endpoints: eps}
}

func ep(id string) Endpoint {
	return Endpoint{Instance: id, Network: "tcp", Address: "127.0.0.1:1", Token: "t-" + id}
}

func draining(id string) Endpoint {
	e := ep(id)
	e.Draining = true
	return e
}

func TestRegistry_AppliesOnlyNewerSetsOfTheEpoch(t *testing.T) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(5, 10, ep("i1"))}, func() {})
	p := r.Get("a")
	for _, tt := range []struct {
		set  Set
		want bool
	}{
		{set(5, 10), false}, {set(5, 9), false}, {set(4, 99), false}, {set(6, 99), false}, {set(5, 11), true},
	} {
		if got := r.Apply(tt.set); got != tt.want {
			t.Errorf("Apply(%d, %d) = %v", tt.set.Epoch, tt.set.Revision, got)
		}
	}
	r.Replace([]Set{set(2, 1, ep("i1"))}, func() {})
	if p != r.Get("a") || p.Epoch() != 2 || p.Revision() != 1 {
		t.Errorf("after a snapshot of a lower epoch: %d, %d", p.Epoch(), p.Revision())
	}
	if !r.Apply(Set{App: "new", Epoch: 2, Revision: 1}) || r.Get("new") == nil {
		t.Error("a set of an unknown app was not applied")
	}
}

func TestRegistry_ReplaceRemovesWhatIsAbsent(t *testing.T) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
	p := r.Get("a")
	l, _ := p.Acquire(nil)
	changed := p.Changed()
	r.Replace(nil, func() {})
	if r.Get("a") != nil || !p.Removed() {
		t.Error("the app is still there")
	}
	<-changed
	<-p.Changed()
	if _, ok := p.Acquire(nil); ok {
		t.Error("a removed app was acquired")
	}
	if loads := r.Loads(); len(loads) != 1 || loads[0].InFlight != 1 {
		t.Errorf("open exchange of a removed app: %+v", loads)
	}
	l.Release()
	if loads := r.Loads(); len(loads) != 0 {
		t.Errorf("after its end: %+v", loads)
	}
}

func TestRegistry_RemoveNeedsTheEpoch(t *testing.T) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(3, 1)}, func() {})
	if r.Remove("a", 2); r.Get("a") == nil {
		t.Error("removed by another epoch")
	}
	if r.Remove("a", 3); r.Get("a") != nil {
		t.Error("not removed")
	}
}

// TestRegistry_LoadsNameAnAppToItsEnd: what Loads leaves out is taken for gone
// with nothing in flight, so no exchange may be open then, nor begin later.
func TestRegistry_LoadsNameAnAppToItsEnd(t *testing.T) {
	remove := map[string]func(*Registry){
		"Remove":  func(r *Registry) { r.Remove("a", 1) },
		"Replace": func(r *Registry) { r.Replace(nil, func() {}) },
	}
	for name, remove := range remove {
		t.Run(name, func(t *testing.T) {
			for range 3000 {
				r := NewRegistry(func(string) {})
				r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
				p := r.Get("a")
				open, _ := p.Acquire(nil)
				var removing sync.WaitGroup
				removing.Go(func() { remove(r) })
				for !p.Removed() {
					if len(r.Loads()) == 0 {
						t.Fatal("an app with an open exchange is not named")
					}
					runtime.Gosched() // where there is one CPU only, it would be this loop's for 10 ms
				}
				removing.Wait()
				if len(r.Loads()) != 1 {
					t.Fatal("an app with an open exchange was forgotten")
				}
				open.Release()
			}
		})
	}
}

func TestPool_AcquireTakesTheLeastLoaded(t *testing.T) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(1, 1, ep("i1"), ep("i2"), ep("i3"), draining("i4"))}, func() {})
	p := r.Get("a")
	got := map[string]int{}
	for range 9 {
		l, _ := p.Acquire(nil)
		got[l.Endpoint().Instance]++
	}
	for _, id := range []string{"i1", "i2", "i3"} {
		if got[id] != 3 {
			t.Errorf("claims: %v", got)
		}
	}
	l, ok := p.Acquire([]string{"i1", "i3"})
	if !ok || l.Endpoint().Instance != "i2" {
		t.Errorf("avoiding i1, i3: %v", l.Endpoint())
	}
	if _, ok := p.Acquire([]string{"i1", "i2", "i3"}); ok {
		t.Error("acquired although all are to be avoided")
	}
}

func TestPool_DrainIsReportedAtZero(t *testing.T) {
	var n notes
	r := NewRegistry(n.add)
	r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
	p := r.Get("a")
	l1, _ := p.Acquire(nil)
	l2, _ := p.Acquire(nil)
	told := make(chan struct{})
	l1.OnDrain(func() { close(told) })
	n.take()

	r.Apply(set(1, 2, draining("i1"), ep("i2")))
	<-told
	if n.take() != 1 {
		t.Error("an applied set was not reported")
	}
	r.Apply(set(1, 3, ep("i2"))) // dropped means the same
	n.take()
	l1.Release()
	l1.Release()
	if n.take() != 0 {
		t.Error("reported with an exchange open")
	}
	want := []InstanceLoad{{ID: "i2"}, {ID: "i1", InFlight: 1, Requests: 2}}
	if got := p.Load().Instances; !slices.Equal(got, want) {
		t.Errorf("load %v, want %v", got, want)
	}
	l2.Release()
	if n.take() != 1 {
		t.Error("the end of the last exchange was not reported")
	}
	if got := p.Load(); len(got.Instances) != 1 || got.Requests != 2 {
		t.Errorf("load %+v", got)
	}
}

// server accepts connections and holds them open.
func server(t *testing.T) (Endpoint, chan net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		close(accepted)
		for c := range accepted {
			c.Close()
		}
	})
	return Endpoint{Instance: "i1", Network: "tcp", Address: l.Addr().String()}, accepted
}

func lease(t *testing.T, p *Pool) Lease {
	t.Helper()
	l, ok := p.Acquire(nil)
	if !ok {
		t.Fatal("nothing to acquire")
	}
	return l
}

func dial(t *testing.T, l *Lease) *Conn {
	t.Helper()
	c, err := l.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestPool_ConnectionsAreReusedLastFirst(t *testing.T) {
	e, _ := server(t)
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(1, 1, e)}, func() {})
	p := r.Get("a")
	l1, l2 := lease(t, p), lease(t, p)
	c1, c2 := dial(t, &l1), dial(t, &l2)
	l1.Keep(c1)
	l2.Keep(c2)
	l1.Release()
	l2.Release()
	l := lease(t, p)
	if c := l.Idle(); c != c2 || !c.Reused {
		t.Error("not the connection used last")
	}
	l.Release()

	r.Apply(set(1, 2, Endpoint{Instance: "i1", Network: "tcp", Address: e.Address, Draining: true}))
	if _, err := c1.Write([]byte("x")); err == nil {
		t.Error("an idle connection survived the drain")
	}
}

func TestPool_IdleConnectionsAreClosedBeforeTheAppWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(func(string) {})
		r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
		p := r.Get("a")
		near, far := net.Pipe()
		defer far.Close()
		l := lease(t, p)
		l.Keep(&Conn{Conn: near})
		l.Release()
		start := time.Now()
		far.Read(make([]byte, 1)) // until it is closed
		if d := time.Since(start); d < 3*time.Second || d >= 5*time.Second {
			t.Errorf("closed after %v", d)
		}
		l = lease(t, p)
		if l.Idle() != nil {
			t.Error("a closed connection was handed out")
		}
		l.Release()
	})
}

// TestPool_Accounting: whatever order sets and exchanges come in, the numbers
// are those of the open exchanges, and no draining instance is picked.
func TestPool_Accounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(func(string) {})
		r.Replace([]Set{set(1, 1)}, func() {})
		p := r.Get("a")
		var open []Lease
		revision := uint64(1)
		live := map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				var eps []Endpoint
				clear(live)
				for i := range 4 {
					switch rapid.IntRange(0, 2).Draw(t, "state") {
					case 1:
						eps = append(eps, draining(fmt.Sprint(i)))
					case 2:
						eps = append(eps, ep(fmt.Sprint(i)))
						live[fmt.Sprint(i)] = true
					}
				}
				revision++
				if !r.Apply(set(1, revision, eps...)) {
					t.Fatal("not applied")
				}
			},
			"acquire": func(t *rapid.T) {
				l, ok := p.Acquire(nil)
				if ok != (len(live) > 0) || ok && !live[l.Endpoint().Instance] {
					t.Fatalf("acquired %v of %v", l.endpoint, live)
				}
				if ok {
					open = append(open, l)
				}
			},
			"release": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				open[i].Release()
				open = slices.Delete(open, i, i+1)
			},
			"": func(t *rapid.T) {
				if got := p.Load().InFlight; got != len(open) {
					t.Fatalf("%d in flight, want %d", got, len(open))
				}
			},
		})
	})
}

func BenchmarkPool_AcquireRelease(b *testing.B) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(1, 1, ep("i1"), ep("i2"))}, func() {})
	p := r.Get("a")
	c := new(Conn)
	for b.Loop() {
		l, _ := p.Acquire(nil)
		if got := l.Idle(); got != nil {
			c = got
		}
		l.Keep(c)
		l.Release()
	}
	for _, e := range p.current {
		e.idle = nil
	}
}
