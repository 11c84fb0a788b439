package supervisor

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// dueNow is an event that makes instances due as a trigger would.
type dueNow struct {
	one app.InstanceID // "": all
}

func (e dueNow) on(c *controller) {
	why := cause{trigger: "test", message: "the test says so", limit: "1", measured: "2"}
	if e.one == "" {
		c.recycleAll(why)
		return
	}
	if m := c.member(e.one); m != nil {
		c.recycleOne(m, app.Warning, why)
	}
}

func (r *rig) recycleUnasked(name string, one app.InstanceID) {
	r.t.Helper()
	r.postTo(name, dueNow{one})
	synctest.Wait()
}

// newest is the app's newest rollout.
func (r *rig) newest(name string) app.Rollout {
	r.t.Helper()
	a := r.app(name)
	if a.Rollout == nil {
		return app.Rollout{}
	}
	return r.rollout(a.Rollout.ID)
}

func TestRecycleAll_ReplacesOneAtATimeAndNeverHasFewer(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(3)))
		before := r.wantAlive(3)
		r.recycleUnasked("web", "")
		roll := r.newest("web")
		if roll.Phase != app.RolloutProgressing || roll.Desired != 3 || roll.Generation != 1 {
			t.Fatalf("rollout %+v", roll)
		}
		for !r.rollout(roll.ID).Phase.Done() {
			if n := len(r.alive()); n > 4 {
				t.Fatalf("%d at once", n)
			}
			if n := len(r.proxies.ready("web")); n < 3 {
				t.Fatalf("%d take requests", n)
			}
			r.pass(50 * time.Millisecond)
		}
		r.ends(roll.ID, app.RolloutComplete)
		for _, p := range r.wantAlive(3) {
			if slices.Contains(before, p) {
				t.Fatal("an old one is left")
			}
		}
		if e := r.recorder.find(app.EventAppRecycled); len(e) != 1 || e[0].Attributes["trigger"] != "test" {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestRecycleAll_UsesTheServingGenerationAndItsFolder(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.link("/srv/web", "/srv/r1")
		r.up(spec("web", version("1")))
		r.bad("2", script{boot: -1, exitAfter: time.Millisecond})
		r.ends(r.apply(spec("web", version("2")))[0].Rollout, app.RolloutFailed)
		r.host.link("/srv/web", "/srv/r2")
		old := r.wantAlive(1)[0]
		r.recycleUnasked("web", "")
		r.ends(r.newest("web").ID, app.RolloutComplete)
		p := r.wantAlive(1)[0]
		if p == old || p.launch.Generation != 1 || p.launch.Dir != "/srv/r1" {
			t.Fatalf("generation %d in %s", p.launch.Generation, p.launch.Dir)
		}
		if a := r.app("web"); a.Desired != 2 || a.Failed == nil {
			t.Fatalf("what failed is forgotten: %+v", a.Stored)
		}
	})
}

func TestRecycleOne_ReplacesThatOneOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(3)))
		before := r.wantAlive(3)
		r.recycleUnasked("web", before[1].launch.ID)
		r.recycleUnasked("web", before[1].launch.ID)
		r.ends(r.newest("web").ID, app.RolloutComplete)
		after := r.wantAlive(3)
		if !slices.Contains(after, before[0]) || slices.Contains(after, before[1]) || !slices.Contains(after, before[2]) {
			t.Fatal("others are replaced")
		}
		e := r.recorder.find(app.EventInstanceRecycled)
		if len(e) != 1 || e[0].Instance != before[1].launch.ID || e[0].Attributes["limit"] != "1" || e[0].Attributes["measured"] != "2" {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestRecycleAll_WithoutOverlapTheOldOneGoesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", noOverlap, instances(2)))
		before := r.wantAlive(2)
		r.recycleUnasked("web", "")
		id := r.newest("web").ID
		for !r.rollout(id).Phase.Done() {
			if n := len(r.alive()); n < 1 || n > 2 {
				t.Fatalf("%d at once", n)
			}
			r.pass(50 * time.Millisecond)
		}
		r.ends(id, app.RolloutComplete)
		for _, p := range r.wantAlive(2) {
			if slices.Contains(before, p) {
				t.Fatal("an old one is left")
			}
		}
	})
}

func TestRecycleAll_OfAnAppWithoutInstancesDoesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.pass(time.Second)
		before := r.newest("web").ID
		r.recycleUnasked("web", "")
		r.pass(time.Minute)
		r.wantAlive(0)
		if e := r.recorder.find(app.EventAppRecycled); len(e) != 0 || r.newest("web").ID != before {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestRecycleAll_FailureKeepsTheOldOneAndTriesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", func(s *app.Spec) { s.Restart.RapidFailsPerMinute = new(0) }, restart(app.RestartNever)))
		old := r.wantAlive(1)[0]
		r.host.behave(script{boot: -1, exitAfter: time.Millisecond, code: 1})
		r.recycleUnasked("web", "")
		r.ends(r.newest("web").ID, app.RolloutFailed)
		launches := r.host.count()
		r.pass(10 * time.Minute)
		if !slices.Equal(r.wantAlive(1), []*fakeProcess{old}) || len(r.proxies.ready("web")) != 1 {
			t.Fatal("the old one is not kept")
		}
		if n := r.host.count() - launches; n < 10 || n > 20 {
			t.Fatalf("it was tried %d times in ten minutes", n)
		}
		a := r.app("web")
		if a.State != app.StateRunning || a.Failed != nil || len(a.Conditions) != 1 || a.Conditions[0].Type != app.CondRecycleFailed {
			t.Fatalf("app %+v", a)
		}
		r.host.behave(script{boot: time.Second})
		r.until("it is replaced", func() bool { return closed(old.gone) })
		r.pass(time.Second)
		if a := r.app("web"); len(a.Conditions) != 0 || a.State != app.StateRunning {
			t.Fatalf("app %+v", a)
		}
	})
}

func TestRecycleAll_NewOneThatDiesWithinMinReadyTakesNoRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		old := r.wantAlive(1)[0]
		r.host.behave(script{boot: time.Second, exitAfter: 2 * time.Second, code: 1})
		r.recycleUnasked("web", "")
		id := r.newest("web").ID
		for !r.rollout(id).Phase.Done() {
			if list := r.proxies.ready("web"); len(list) != 1 || list[0].Instance != old.launch.ID {
				t.Fatalf("requests go to %+v", list)
			}
			r.pass(100 * time.Millisecond)
		}
		r.ends(id, app.RolloutFailed)
	})
}

func TestRecycleAll_AWriteGoesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		old := r.wantAlive(1)[0]
		r.recycleUnasked("web", "")
		mine := r.newest("web").ID
		res := r.apply(spec("web", version("2")))[0]
		if res.Rollout == mine {
			t.Fatal("the apply has no rollout of its own")
		}
		r.ends(mine, app.RolloutSuperseded)
		r.ends(res.Rollout, app.RolloutComplete)
		r.pass(time.Minute)
		if p := r.wantAlive(1)[0]; p == old || p.launch.Generation != 2 || r.newest("web").ID != res.Rollout {
			t.Fatal("what the apply replaced is replaced again")
		}
	})
	inBubble(t, func(t *testing.T, r *rig) { // what has started before the recycle is due as well
		r.up(spec("web"))
		res := r.apply(spec("web", version("2")))[0]
		r.pass(1500 * time.Millisecond)
		fresh := r.wantAlive(2)[1]
		r.recycleUnasked("web", "")
		r.ends(res.Rollout, app.RolloutComplete)
		r.until("the fresh one is replaced", func() bool { return closed(fresh.gone) })
		if p := r.wantAlive(1)[0]; p.launch.Generation != 2 {
			t.Fatal("it is of another generation")
		}
	})
	inBubble(t, func(t *testing.T, r *rig) { // a failed rollout leaves what is due to the recycle
		r.up(spec("web", version("1")))
		old := r.wantAlive(1)[0]
		r.recycleUnasked("web", "")
		r.bad("2", script{boot: -1, exitAfter: time.Second})
		r.ends(r.apply(spec("web", version("2")))[0].Rollout, app.RolloutFailed)
		r.until("the old one is replaced", func() bool { return closed(old.gone) })
		if p := r.wantAlive(1)[0]; p.launch.Generation != 1 {
			t.Fatal("it is of another generation")
		}
	})
}

func TestRecycleAll_AnUnchangedApplyDoesNotWaitForIt(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		r.recycleUnasked("web", "")
		id := r.newest("web").ID
		if res := r.apply(spec("web"))[0]; res.Rollout == id {
			t.Fatal("it answers with the daemon's own recycle")
		}
		r.ends(id, app.RolloutComplete)
	})
}

func TestRecycleAll_WithoutOverlapAFailureIsOneOfTheApp(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", noOverlap, instances(3)))
		old := r.wantAlive(3)
		r.host.behave(script{boot: time.Second, exitAfter: 500 * time.Millisecond, code: 1})
		r.recycleUnasked("web", "")
		r.ends(r.newest("web").ID, app.RolloutFailed)
		r.pass(10 * time.Minute)
		left := 0
		for _, p := range old {
			if !closed(p.gone) {
				left++
			}
		}
		if left != 2 || r.recorder.count(app.EventAppBlocked) == 0 {
			t.Fatalf("%d of three old ones are left", left)
		}
		r.host.behave(script{boot: time.Second})
		r.until("all are replaced", func() bool {
			return !slices.ContainsFunc(old, func(p *fakeProcess) bool { return !closed(p.gone) })
		})
		r.pass(time.Minute)
		r.wantState("web", app.StateRunning)
	})
}
