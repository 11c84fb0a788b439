package supervisor

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// die kills the daemon; what f does happens while none is there.
func (r *rig) die(f func()) {
	r.end()
	f()
	r.boot()
}

func TestRecover_ReadyInstancesArePublishedBeforeSynced(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2)))
		before := r.proxies.ready("web")
		r.die(func() {
			r.proxies.update(func() { r.proxies.sets, r.proxies.history, r.proxies.synced = map[string]app.EndpointSet{}, nil, false })
		})
		got := r.proxies.history[0]
		if len(got.Endpoints) != 2 || got.Endpoints[0].Token == "" || got.Endpoints[0].Address == "" || !r.proxies.synced {
			t.Fatalf("the first set is %+v", got)
		}
		for _, e := range got.Endpoints {
			if e.Instance != before[0].Instance && e.Instance != before[1].Instance {
				t.Errorf("endpoint %v is new", e)
			}
		}
		r.pass(time.Minute)
		if r.host.count() != 2 {
			t.Fatal("something was started")
		}
		r.wantState("web", app.StateRunning)
	})
}

func TestRecover_AConditionThatLastsIsToldOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, conditions: map[string]string{app.CondRunsAsRoot: "it is root"}})
		r.up(spec("web", instances(2)))
		r.reboot()
		if got := r.app("web").Conditions; len(got) != 1 || got[0].Type != app.CondRunsAsRoot || got[0].Message != "it is root" {
			t.Errorf("conditions %v", got)
		}
		if n := r.recorder.count(app.EventConditionAppeared); n != 1 {
			t.Errorf("told %d times", n)
		}
		r.host.behave(script{boot: time.Second})
		r.wantAlive(2)[0].crash()
		r.pass(2 * time.Second)
		if n := r.recorder.count(app.EventConditionDisappear); n != 1 || len(r.app("web").Conditions) != 0 {
			t.Errorf("a new process without it: told %d times that it is gone, conditions %v", n, r.app("web").Conditions)
		}
	})
}

func TestRecover_WhatDiedMeanwhileIsAccountedForOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		r.die(func() { p.end(app.Exit{Code: 7}) })
		if n := r.recorder.count(app.EventInstanceExited); n != 1 {
			t.Fatalf("%d exit events", n)
		}
		i, _ := r.Instances().Get(p.launch.ID)
		if i.Exit == nil || i.Exit.Code != 7 || i.Phase != app.PhaseExited {
			t.Fatalf("instance %+v", i)
		}
		r.pass(2 * time.Second)
		r.wantState("web", app.StateRunning)
		if r.host.count() != 2 {
			t.Fatalf("%d launches", r.host.count())
		}
		r.reboot()
		if n := r.recorder.count(app.EventInstanceExited); n != 1 {
			t.Fatalf("%d exit events after another restart", n)
		}
		if i, _ := r.Instances().Get(p.launch.ID); i.Exit == nil || i.Exit.Code != 7 {
			t.Fatalf("it is not shown any more: %+v", i)
		}
	})
}

func TestRecover_FailuresCountByTheirTime(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", func(s *app.Spec) { s.Restart.RapidFailsPerMinute = new(0) }))
		p := r.wantAlive(1)[0]
		r.die(func() {
			p.crash()
			time.Sleep(2 * time.Minute)
		})
		if got := r.app("web").State; got == app.StateBlocked {
			t.Fatal("blocked for a failure that is long ago")
		}
	})
}

func TestRecover_StartingInstanceIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.host.behave(script{boot: 5 * time.Second})
		go func() { _, _ = r.activate("web") }()
		r.pass(time.Second)
		r.reboot()
		r.wantState("web", app.StateStarting)
		if _, f := r.activate("web"); f != nil || r.host.count() != 1 {
			t.Fatalf("%v, %d launches", f, r.host.count())
		}
	})
}

func TestRecover_UnreadyInstanceIsNotPublished(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		r.die(func() { p.fallSick(errors.New("refused")) })
		if len(r.proxies.ready("web")) != 0 {
			t.Fatal("it is in the set")
		}
		p.fallSick(nil)
		if _, f := r.activate("web"); f != nil || r.host.count() != 1 {
			t.Fatalf("%v, %d launches", f, r.host.count())
		}
	})
}

func TestRecover_InstancesOfRemovedAndStoppedAppsAreDrainedAndStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("gone"), spec("stopped"))
		r.die(func() {
			a := r.disk.get("stopped")
			a.Stopped = true
			if err := r.disk.Save([]app.Stored{a}, []string{"gone"}); err != nil {
				t.Fatal(err)
			}
		})
		r.wantAlive(0)
		if r.recorder.count(app.EventInstanceDraining) != 2 {
			t.Error("they were not drained")
		}
		if _, ok := r.proxies.Current("gone"); ok {
			t.Error("the set of the removed app is left")
		}
	})
}

func TestRecover_InstanceThatWasStoppingIsStoppedAndNoFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: 5 * time.Second})
		r.up(spec("web", instances(2)))
		if _, _, err := r.Scale(ctx, "web", 1, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.reboot()
		r.pass(10 * time.Second)
		r.wantAlive(1)
		r.wantState("web", app.StateRunning)
		if r.host.count() != 2 {
			t.Fatal("it was replaced")
		}
	})
}

func TestRecover_RolloutIsResumed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2), version("1")))
		id := r.apply(spec("web", instances(2), version("2")))[0].Rollout
		r.pass(1500 * time.Millisecond) // the first new one is ready, but not for min_ready
		r.reboot()
		if a := r.app("web"); a.Serving != 1 || a.Desired != 2 {
			t.Fatalf("app %+v", a.Stored)
		}
		r.ends(id, app.RolloutComplete)
		if got := r.generationsAlive(); got[2] != 2 || len(got) != 1 {
			t.Fatalf("generations %v", got)
		}
		if r.host.count() != 4 {
			t.Errorf("%d launches: the new one was started again", r.host.count())
		}
	})
}

func TestRecover_ResumedRolloutStillRollsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		id := r.apply(spec("web", version("2")))[0].Rollout
		r.pass(1500 * time.Millisecond)
		r.die(func() {
			for _, p := range r.host.alive() {
				if p.launch.Generation == 2 {
					p.crash()
				}
			}
		})
		r.ends(id, app.RolloutFailed)
		if a := r.app("web"); a.Serving != 1 || a.State != app.StateRunning {
			t.Fatalf("app %+v", a)
		}
	})
}

func TestRecover_WithNothingLiveTheDesiredGenerationServes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.bad("2", script{boot: time.Hour})
		r.apply(spec("web", version("2")))
		r.die(func() {
			for _, p := range r.host.alive() {
				p.crash()
			}
		})
		if got := r.disk.get("web"); got.Serving != 2 {
			t.Fatalf("stored %+v", got)
		}
	})
}

func TestRecover_FailsWhereTheStoreOrTheKeeperDoes(t *testing.T) {
	s := New(Config{Store: brokenStore{newStore()}, PortLow: 1, PortHigh: 2})
	if err := s.Run(ctx); err == nil {
		t.Fatal("no error")
	}
}

type brokenStore struct{ *fakeStore }

func (brokenStore) Load() ([]app.Stored, error) { return nil, errors.New("corrupt") }

func TestEnded_LastTwentyAreShownAndOlderOnesForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		for range 30 {
			r.pass(15 * time.Second)
			r.wantAlive(1)[0].crash()
		}
		r.pass(2 * time.Second)
		forgotten := 0
		for _, p := range r.host.all() {
			if p.isForgotten() {
				forgotten++
			}
		}
		if n := len(r.Instances().All()); n != 21 || forgotten != 10 {
			t.Fatalf("%d are shown, %d forgotten", n, forgotten)
		}
	})
}
