package supervisor

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestStop_DrainsUntilTheOpenRequestsAreDone(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 1 })
		_, id, err := r.Stop(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.pass(20 * time.Second)
		if !p.isUnblocked() {
			t.Error("its open request may wait for room for its output")
		}
		set, _ := r.proxies.Current("web")
		if p.wasSignalled() || len(set.Endpoints) != 1 || !set.Endpoints[0].Draining {
			t.Fatalf("signalled under an open request; set %+v", set.Endpoints)
		}
		if r.rollout(id).Phase.Done() {
			t.Fatal("stop is complete while a process is left")
		}
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 0 })
		r.ends(id, app.RolloutComplete)
		r.wantAlive(0)
		r.wantState("web", app.StateStopped)
		if got := r.recorder.last(app.EventInstanceExited).Attributes["graceful"]; got != "true" {
			t.Errorf("the exit says graceful=%q of a process that ended as it was told to", got)
		}
		if set, _ := r.proxies.Current("web"); len(set.Endpoints) != 0 || len(set.Routes) != 1 {
			t.Errorf("set %+v", set)
		}
	})
}

func TestStop_DrainsNoLongerThanItsLimitThenSignalsThenKills(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: -1})
		r.up(spec("web", func(s *app.Spec) { s.Stop.Drain = new(3 * time.Second); s.Stop.Timeout = new(2 * time.Second) }))
		p := r.wantAlive(1)[0]
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 1 })
		_, id, _ := r.Stop(ctx, "web", "")
		r.pass(2900 * time.Millisecond)
		if p.wasSignalled() {
			t.Fatal("signalled before stop.drain")
		}
		r.pass(200 * time.Millisecond)
		if !p.wasSignalled() || p.wasKilled() {
			t.Fatal("not signalled after stop.drain, or killed at once")
		}
		r.pass(1700 * time.Millisecond)
		if p.wasKilled() {
			t.Fatal("killed before stop.timeout")
		}
		r.pass(200 * time.Millisecond)
		if got := r.recorder.last(app.EventInstanceExited).Attributes["graceful"]; got != "false" {
			t.Errorf("the exit says graceful=%q of a process that was killed", got)
		}
		if !p.wasKilled() || r.recorder.count(app.EventInstanceKilled) != 1 {
			t.Fatal("not killed after stop.timeout")
		}
		r.ends(id, app.RolloutComplete)
	})
}

func TestStop_IsCompleteOnlyWhenNothingOfTheTreeIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{linger: 5 * time.Second})
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		_, id, _ := r.Stop(ctx, "web", "")
		r.pass(4 * time.Second)
		if r.rollout(id).Phase.Done() {
			t.Fatal("complete though a process is left")
		}
		r.pass(2 * time.Second)
		r.ends(id, app.RolloutComplete)
		if p.wasKilled() {
			t.Error("killed before stop.timeout")
		}
	})
}

func TestStop_AStartingInstanceIsNotDrained(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.host.behave(script{boot: time.Hour})
		go func() { _, _ = r.activate("web") }()
		synctest.Wait()
		r.proxies.update(func() { r.proxies.held = true })
		_, id, _ := r.Stop(ctx, "web", "")
		r.ends(id, app.RolloutComplete)
		if r.recorder.count(app.EventInstanceDraining) != 0 || r.recorder.count(app.EventStartFailed) != 0 {
			t.Error("it was drained, or its end was a failure")
		}
	})
}

func TestStop_IsNoFailureAndKeepsTheAppStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", func(s *app.Spec) { s.Restart.RapidFailsPerMinute = new(0) }), spec("boot", onBoot))
		for _, name := range []string{"web", "boot"} {
			if _, _, err := r.Stop(ctx, name, ""); err != nil {
				t.Fatal(err)
			}
		}
		r.wantAlive(0)
		r.reboot()
		r.pass(time.Minute)
		r.wantAlive(0)
		r.wantState("web", app.StateStopped)
		r.wantState("boot", app.StateStopped)
		res := r.apply(spec("boot", onBoot, version("2"))) // an apply does not put it in service
		r.ends(res[0].Rollout, app.RolloutComplete)
		r.wantAlive(0)
		_, id, err := r.Start(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutComplete)
	})
}

func TestIdle_StopsAfterSoLongWithoutARequest(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", idleAfter(time.Minute)))
		r.proxies.update(func() { r.proxies.busy = true })
		r.pass(10 * time.Minute)
		r.wantAlive(1)
		r.proxies.update(func() { r.proxies.busy, r.proxies.idle = false, time.Now().Add(30*time.Second) })
		r.pass(89 * time.Second)
		r.wantAlive(1)
		r.pass(62 * time.Second)
		r.wantAlive(0)
		r.wantState("web", app.StateIdle)
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		r.pass(59 * time.Second) // it was idle for long, but has just been started
		r.wantAlive(1)
	})
}

func TestIdle_ARecycleThatFailsAgainAndAgainIsNoUse(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", idleAfter(5*time.Minute)))
		id := r.wantAlive(1)[0].launch.ID
		r.host.behave(script{boot: -1, exitAfter: time.Second, code: 1})
		r.postTo("web", dueNow{id})
		r.pass(4 * time.Minute)
		r.wantState("web", app.StateRunning)
		r.pass(4 * time.Minute)
		r.wantState("web", app.StateIdle)
	})
}

func TestIdle_ARequestDuringTheDrainStartsANewInstance(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", idleAfter(time.Minute)))
		old := r.wantAlive(1)[0]
		r.proxies.update(func() { r.proxies.inFlight[old.launch.ID] = 1 }) // came just now
		r.pass(61 * time.Second)
		if set, _ := r.proxies.Current("web"); !set.Endpoints[0].Draining {
			t.Fatal("it does not drain")
		}
		set, f := r.activate("web")
		if f != nil {
			t.Fatal(f)
		}
		if !slices.ContainsFunc(set.Endpoints, func(e app.Endpoint) bool { return !e.Draining && e.Instance != old.launch.ID }) {
			t.Fatalf("set %+v", set.Endpoints)
		}
		r.pass(45 * time.Second) // stop.drain is 30s
		r.wantAlive(1)
	})
}

func TestIdle_WithoutOverlapARequestWaitsForTheOldOneToBeGone(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: 5 * time.Second})
		r.up(spec("web", idleAfter(time.Minute), noOverlap))
		r.pass(61 * time.Second)
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		r.wantAlive(1)
	})
}

func TestDelete_DrainsForgetsAndCanBeAppliedAgainMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 1 })
		if _, err := r.Delete(ctx, "web", "stale", ""); app.KindOf(err) != app.Stale {
			t.Fatalf("stale etag: %v", err)
		}
		id, err := r.Delete(ctx, "web", "", "")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		set, _ := r.proxies.Current("web")
		if _, ok := r.Apps().Get("web"); ok || len(set.Routes) != 0 || len(r.disk.apps) != 0 {
			t.Fatal("it is still there")
		}
		if _, err := r.Delete(ctx, "web", "", ""); app.KindOf(err) != app.NotFound {
			t.Errorf("twice: %v", err)
		}
		// Applied again while the old instance drains.
		r.apply(spec("web"))
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		r.ends(id, app.RolloutSuperseded)
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 0 })
		r.pass(time.Second)
		r.wantAlive(1)
		r.wantState("web", app.StateRunning)
		// And for good.
		id, _ = r.Delete(ctx, "web", "", "")
		r.ends(id, app.RolloutComplete)
		r.wantAlive(0)
		if _, ok := r.proxies.Current("web"); ok {
			t.Error("its set is left")
		}
		if _, ok := r.Apps().Get("web"); ok {
			t.Error("the app is shown again")
		}
		if n := len(r.Instances().All()); n != 0 {
			t.Errorf("%d instances are still shown", n)
		}
		for _, p := range r.host.all() {
			if !p.isForgotten() {
				t.Error("a record is left")
			}
		}
	})
}

func TestDelete_ThatEndsAsTheAppIsAppliedAgainLeavesItsSet(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.proxies.removal = time.Second
		r.up(spec("web"))
		if _, err := r.Delete(ctx, "web", "", ""); err != nil {
			t.Fatal(err)
		}
		r.until("the last process is gone", func() bool { return len(r.host.alive()) == 0 })
		r.apply(spec("web", version("2")))
		r.pass(2 * time.Second)
		if _, ok := r.proxies.Current("web"); !ok {
			t.Fatal("the removal of the app that was took the new one's set from the proxies")
		}
	})
}

func TestDelete_OfManyAppsCanBeWatchedAfterwards(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var specs []app.Spec
		for i := range 300 {
			specs = append(specs, spec(fmt.Sprintf("app-%d", i)))
		}
		for i := range 3 { // each has a past
			for j := range specs {
				specs[j].Release = number(int64(i))
			}
			if _, err := r.Apply(ctx, ApplyRequest{Specs: specs, Manifest: "shop"}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		results, err := r.Apply(ctx, ApplyRequest{Manifest: "shop", Prune: true})
		if err != nil || len(results) != 300 {
			t.Fatalf("%d results, %v", len(results), err)
		}
		synctest.Wait()
		for _, res := range results {
			r.ends(res.Rollout, app.RolloutComplete)
		}
	})
}

func TestSignal_ReachesTheLeaders(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2)), spec("cold", idleAfter(time.Second)))
		ids, err := r.Signal(ctx, "web", "", 1, "")
		if err != nil || len(ids) != 2 || r.recorder.count(app.EventInstanceSignalled) != 2 {
			t.Fatalf("%v, %v", ids, err)
		}
		if got := r.recorder.last(app.EventInstanceSignalled).Attributes["generation"]; got != "1" {
			t.Errorf("the event names generation %q, as every one of an instance does", got)
		}
		if got, err := r.Signal(ctx, "web", ids[0], 1, ""); err != nil || len(got) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		r.pass(5 * time.Second)
		for name, id := range map[string]app.InstanceID{"nobody": "", "web": "unknown", "cold": ""} {
			if _, err := r.Signal(ctx, name, id, 1, ""); app.KindOf(err) != app.NotFound {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
