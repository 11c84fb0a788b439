package supervisor

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestRecycle_ReplacesWithTheSameGeneration(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2)))
		before := r.wantAlive(2)
		_, id, err := r.Recycle(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutComplete)
		for _, p := range r.wantAlive(2) {
			if slices.Contains(before, p) || p.launch.Generation != 1 {
				t.Fatal("an old one is left")
			}
		}
	})
}

func TestRecycle_FailureKeepsTheOldOnes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2)))
		before := r.wantAlive(2)
		r.host.behave(script{boot: -1, exitAfter: time.Millisecond, code: 1})
		_, id, err := r.Recycle(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutFailed)
		r.pass(time.Minute)
		if !slices.Equal(r.wantAlive(2), before) || len(r.app("web").Conditions) != 1 {
			t.Fatal("the old ones are not kept")
		}
		r.host.behave(script{})
		_, id, _ = r.Recycle(ctx, "web", "")
		r.ends(id, app.RolloutComplete)
		if len(r.app("web").Conditions) != 0 {
			t.Fatal("the condition stays")
		}
	})
}

func TestRecycle_OfAStoppedIdleOrUnknownApp(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		if _, id, err := r.Recycle(ctx, "web", ""); err != nil || id != "" {
			t.Errorf("idle: rollout %q, %v", id, err)
		}
		r.host.link("/srv/web", "")
		if _, _, err := r.Recycle(ctx, "web", ""); app.KindOf(err) != app.WrongState {
			t.Errorf("folder gone: %v", err)
		}
		_, _, _ = r.Stop(ctx, "web", "")
		if _, _, err := r.Recycle(ctx, "web", ""); app.KindOf(err) != app.WrongState {
			t.Errorf("stopped: %v", err)
		}
		if _, _, err := r.Recycle(ctx, "nobody", ""); app.KindOf(err) != app.NotFound {
			t.Errorf("unknown: %v", err)
		}
	})
}

func TestDir_MovedLinkIsDeployedByApplyAndRecycleOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		dir := func() string { return r.wantAlive(1)[0].launch.Dir }
		r.host.link("/srv/web", "/srv/r1")
		r.up(spec("web"))
		r.host.link("/srv/web", "/srv/r2")
		r.wantAlive(1)[0].crash()
		r.pass(2 * time.Second)
		if dir() != "/srv/r1" {
			t.Fatal("a crash deploys")
		}
		res := r.apply(spec("web"))[0]
		if res.Action != ActionUpdated || !slices.Equal(res.ChangedPaths, []string{"dir"}) || !res.Replaces {
			t.Fatalf("result %+v", res)
		}
		r.ends(res.Rollout, app.RolloutComplete)
		if dir() != "/srv/r2" {
			t.Fatalf("it runs in %s", dir())
		}
		_, id, err := r.Rollback(ctx, "web", 0, "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutComplete)
		if dir() != "/srv/r1" || r.app("web").Desired != 3 {
			t.Fatalf("after the rollback it runs in %s", dir())
		}
		r.host.link("/srv/web", "/srv/r3")
		_, id, err = r.Recycle(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutComplete)
		if dir() != "/srv/r3" || r.app("web").Serving != 4 {
			t.Fatalf("after the recycle it runs in %s", dir())
		}
	})
}

func TestRollback_ReturnsToServingWhereDesiredDiffers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		p := r.wantAlive(1)[0]
		r.bad("2", script{boot: -1, exitAfter: time.Millisecond})
		r.ends(r.apply(spec("web", version("2")))[0].Rollout, app.RolloutFailed)
		a, id, err := r.Rollback(ctx, "web", 0, "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutComplete)
		if a.Desired != 3 || a.Serving != 3 || len(a.Conditions) != 0 || r.wantAlive(1)[0] != p {
			t.Fatalf("app %+v", a)
		}
		if _, _, err := r.Rollback(ctx, "web", 0, ""); app.KindOf(err) != app.NotFound {
			t.Errorf("nothing served before: %v", err)
		}
		if _, _, err := r.Rollback(ctx, "web", 77, ""); app.KindOf(err) != app.NotFound {
			t.Errorf("unknown generation: %v", err)
		}
	})
}

func TestVerify_StartsOneAndRollsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		verify := func(s app.Spec) string {
			t.Helper()
			res, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{s}, Verify: true})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := len(r.host.alive()); n > 1 {
				t.Fatalf("%d are started", n)
			}
			return res[0].Rollout
		}
		r.ends(verify(spec("web", version("1"), instances(2))), app.RolloutComplete)
		r.pass(2 * time.Second)
		r.wantAlive(2)
	})
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web", version("1")))
		r.bad("2", script{boot: -1, exitAfter: 100 * time.Millisecond, code: 2})
		res, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("web", version("2"))}, Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		r.ends(res[0].Rollout, app.RolloutFailed)
		a := r.app("web")
		if a.Serving != 1 || a.Desired != 2 || a.Failed == nil {
			t.Fatalf("app %+v", a.Stored)
		}
		if e := r.recorder.last(app.EventRolloutFailed); strings.Contains(e.Message, "keeps serving") {
			t.Errorf("nothing serves, and the event is %q", e.Message)
		}
		r.pass(2 * time.Second)
		set, f := r.activate("web")
		if f != nil || set.Endpoints[0].Generation != 1 {
			t.Fatalf("set %v, fault %v", set, f)
		}
	})
}

func TestScale_KeepsTheSurvivorsAndSetsBothGenerations(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2)))
		first := r.wantAlive(2)
		for _, n := range []int{4, 3, 1} {
			_, id, err := r.Scale(ctx, "web", n, "")
			if err != nil {
				t.Fatal(err)
			}
			r.ends(id, app.RolloutComplete)
			kept := 0
			for _, p := range r.wantAlive(n) {
				if slices.Contains(first, p) {
					kept++
				}
			}
			if kept != min(n, 2) {
				t.Fatalf("scaled to %d: %d survivors", n, kept)
			}
		}
		if _, _, err := r.Scale(ctx, "web", 101, ""); app.KindOf(err) != app.Invalid {
			t.Errorf("101 instances: %v", err)
		}
		r.bad("2", script{boot: -1, exitAfter: time.Millisecond})
		r.ends(r.apply(spec("web", version("2")))[0].Rollout, app.RolloutFailed)
		if _, _, err := r.Scale(ctx, "web", 2, ""); err != nil {
			t.Fatal(err)
		}
		a := r.disk.get("web")
		if *desiredOf(a).Spec.Instances != 2 || *servingOf(a).Spec.Instances != 2 || a.Desired != 2 {
			t.Fatalf("stored %+v", a)
		}
	})
}

func TestScale_OfAnIdleAppStartsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.pass(time.Second)
		if _, id, err := r.Scale(ctx, "web", 3, ""); err != nil || id != "" {
			t.Fatalf("rollout %q, %v", id, err)
		}
		r.wantAlive(0)
	})
}

func TestGenerations_TheLastTwentyAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for i := range 30 {
			r.apply(spec("web", version(number(int64(i)))))
		}
		list, desired, serving, err := r.Generations("web")
		if err != nil || len(list) != 20 || desired != 30 || serving != 30 || list[0].Number != 11 {
			t.Fatalf("%d generations from %d, desired %d, serving %d, %v", len(list), list[0].Number, desired, serving, err)
		}
		if _, err := r.Delete(ctx, "web", "", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if res := r.apply(spec("web")); res[0].App.Desired != 31 {
			t.Fatalf("generation %d: the counter did not outlive rm", res[0].App.Desired)
		}
	})
}
