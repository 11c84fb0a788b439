package discovery

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
	"github.com/roostd/roost/proxy/internal/route"
)

func TestWatch_FollowsSnapshotAndDeltas(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1, "a1"), set("b", 1))
	inBubble(t, d, func(t *testing.T, r *rig) {
		synctest.Wait()
		if !r.isSynced() || r.lookup("a", "/x") != "a" || r.lookup("b", "/") != "b" || r.acquire("a") != "a1" || r.acquire("b") != "" {
			t.Fatal("the snapshot is not what is served")
		}
		pool := r.Registry().Get("a")
		d.Publish(set("a", 2, "a2"))
		d.Publish(set("a", 2, "late"))
		d.Publish(set("c", 1, "c1"))
		d.Publish(&roostv1.EndpointSet{App: "a", Epoch: 9, Revision: 9})
		d.Remove("b")
		synctest.Wait()
		if got := r.acquire("a"); got != "a2" {
			t.Errorf("a is at %q, want the instance of the newest set of the epoch, a2", got)
		}
		if r.Registry().Get("a") != pool {
			t.Error("the pool was replaced")
		}
		if r.lookup("b", "/") != "" || r.lookup("c", "/") != "c" {
			t.Error("the routes did not follow")
		}
	})
}

func TestWatch_SnapshotAppliesAsAWhole(t *testing.T) {
	d := fakedaemon.New(1)
	inBubble(t, d, func(t *testing.T, r *rig) {
		synctest.Wait()
		a := assembly{link: r.Link}
		for _, app := range []string{"x", "y"} {
			a.snapshot(&roostv1.EndpointsSnapshot{Epoch: 2, Sets: []*roostv1.EndpointSet{set(app, 1)}})
		}
		if r.lookup("x", "/") != "" || r.Registry().Get("x") != nil {
			t.Error("a part of a snapshot was applied")
		}
		a.snapshot(&roostv1.EndpointsSnapshot{Epoch: 2, LastChunk: true})
		if r.lookup("x", "/") != "x" || r.lookup("y", "/") != "y" {
			t.Error("the whole snapshot was not applied")
		}
	})
}

// TestWatch_ARouteThatMovesIsNeverWithoutAnApp: one delta, or one snapshot, that
// takes an app away and gives its route to another.
func TestWatch_ARouteThatMovesIsNeverWithoutAnApp(t *testing.T) {
	inBubble(t, fakedaemon.New(1), func(t *testing.T, r *rig) {
		synctest.Wait()
		moved := func(app string, revision int) *roostv1.EndpointSet {
			s := set(app, uint64(revision), app)
			s.Epoch, s.Routes[0].Host = 2, "host"
			return s
		}
		a := assembly{link: r.Link, synced: true}
		a.snapshot(&roostv1.EndpointsSnapshot{Epoch: 2, LastChunk: true, Sets: []*roostv1.EndpointSet{moved("a", 1)}})
		var moving sync.WaitGroup
		done := make(chan struct{})
		moving.Go(func() {
			defer close(done)
			for i := range 1000 {
				from, to := "a", "b"
				if i%2 == 1 {
					from, to = to, from
				}
				upserts := []*roostv1.EndpointSet{moved(to, 1)}
				if i%4 < 2 {
					_ = a.delta(&roostv1.EndpointsDelta{Upserts: upserts, Removed: []string{from}})
				} else {
					a.snapshot(&roostv1.EndpointsSnapshot{Epoch: 2, LastChunk: true, Sets: upserts})
				}
			}
		})
		defer moving.Wait()
		for {
			select {
			case <-done:
				return
			default:
			}
			if r.lookup("host", "/") == "" {
				t.Fatal("a request found no app")
			}
		}
	})
}

func TestWatch_DeltaBeforeTheSnapshotEndsTheStream(t *testing.T) {
	a := assembly{}
	if err := a.delta(&roostv1.EndpointsDelta{}); err == nil {
		t.Error("accepted")
	}
}

func TestWatch_LossOfTheDaemonTakesNothingAway(t *testing.T) {
	old := fakedaemon.New(1, set("a", 7, "a1"), set("gone", 1, "g1"))
	inBubble(t, nil, func(t *testing.T, r *rig) {
		if !r.Blind() {
			t.Error("not blind, and nobody told anything")
		}
		stop := r.serve(old)
		settle()
		if !r.isSynced() {
			t.Fatal("not synced with a daemon that came later")
		}
		stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.isSynced() || r.acquire("a") != "a1" || r.lookup("a", "/") != "a" {
			t.Fatal("a daemon that is gone took what it had said with it")
		}

		// Started again, it does not know its instances at first.
		fresh := fakedaemon.New(2, set("a", 1, "a9"))
		fresh.Hold()
		defer r.serve(fresh)()
		settle()
		if r.isSynced() || r.acquire("a") != "a1" {
			t.Error("a daemon that knows nothing yet took away what is known")
		}
		if r.Blind() {
			t.Error("blind, with what the first daemon told")
		}
		fresh.Release()
		synctest.Wait()
		if !r.isSynced() || r.acquire("a") != "a9" || r.lookup("gone", "/") != "" {
			t.Error("the first snapshot of another epoch did not replace everything")
		}
	})
}

func TestWatch_ReconnectsSoon(t *testing.T) {
	for _, down := range []time.Duration{100 * time.Millisecond, 5 * time.Second, time.Minute} {
		d := fakedaemon.New(1, set("a", 1, "a1"))
		inBubble(t, nil, func(t *testing.T, r *rig) {
			stop := r.serve(d)
			settle()
			stop()
			time.Sleep(down)
			defer r.serve(d)()
			back := time.Now()
			<-r.Synced()
			if took := time.Since(back); took > 700*time.Millisecond {
				t.Errorf("synced %v after the daemon was back from %v, want less than 0.7s", took, down)
			}
		})
	}
}

func TestWatch_SilentDaemonIsLeft(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1, "a1"))
	inBubble(t, d, func(t *testing.T, r *rig) {
		synctest.Wait()
		lost := r.Synced()
		for range 3 {
			time.Sleep(40 * time.Second)
			d.Heartbeat()
		}
		if r.Synced() != lost {
			t.Fatal("a stream with heartbeats was given up")
		}
		time.Sleep(silence + time.Second)
		synctest.Wait()
		if r.Synced() == lost {
			t.Error("a silent stream was not given up")
		}
		if r.acquire("a") != "a1" {
			t.Error("and took what is known with it")
		}
	})
}

func TestAppFrom(t *testing.T) {
	a := appFrom(&roostv1.EndpointSet{
		App: "a", Epoch: 1, Revision: 2,
		Endpoints: []*roostv1.Endpoint{
			{Instance: "i", Generation: 3, Address: "[::1]:80", Token: "t"},
			{Instance: "j", Address: "unix:/run/s", Draining: true},
		},
		Routes: []*roostv1.Route{{}, {Host: "*.Example.org", Path: "/a/", StripPath: true, Https: roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT},
			{Https: roostv1.HttpsPolicy_HTTPS_POLICY_ONLY}, {Https: 99}},
		Requests: &roostv1.RequestPolicy{
			Timeout: durationpb.New(time.Second), Queue: 5, QueueTimeout: durationpb.New(time.Minute), MaxBody: 6,
			Websockets: roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_CLOSE, DetailedErrors: true,
		},
	})
	wantEndpoints := []backend.Endpoint{
		{Instance: "i", Generation: 3, Network: "tcp", Address: "[::1]:80", Token: "t"},
		{Instance: "j", Network: "unix", Address: "/run/s", Draining: true},
	}
	for i, want := range wantEndpoints {
		if got := a.Set.Endpoints[i]; got != want {
			t.Errorf("endpoint %+v, want %+v", got, want)
		}
	}
	wantPolicy := backend.Policy{
		Timeout: time.Second, Queue: 5, QueueTimeout: time.Minute, MaxBody: 6, CloseWebSockets: true, DetailedErrors: true,
	}
	if a.Set.Policy != wantPolicy {
		t.Errorf("policy %+v, want %+v", a.Set.Policy, wantPolicy)
	}
	for i, want := range []route.Rule{{Path: "/"}, {Host: "*.example.org", Path: "/a", StripPath: true, HTTPS: route.Redirect},
		{Path: "/", HTTPS: route.Only}, {Path: "/", HTTPS: route.Only}} {
		if got := a.Routes[i]; got != want {
			t.Errorf("route %+v, want %+v", got, want)
		}
	}
	m := appFrom(&roostv1.EndpointSet{
		Endpoints: []*roostv1.Endpoint{{Preset: roostv1.Preset_PRESET_ASPNETCORE}, {}}, Routes: []*roostv1.Route{{Path: "/Shop"}},
		Requests: &roostv1.RequestPolicy{Preset: roostv1.Preset_PRESET_ASPNETCORE},
	})
	if e := m.Set.Endpoints; !e[0].Module || e[1].Module || m.Routes[0] != (route.Rule{Path: "/Shop", AnyCase: true}) {
		t.Errorf("with the preset: %+v", m)
	}
	if p := appFrom(&roostv1.EndpointSet{}).Set.Policy; p.Queue != defaultQueue || p.Timeout != defaultTimeout {
		t.Errorf("policy %+v of a daemon that says nothing, want the defaults", p)
	}
}
