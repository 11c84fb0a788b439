package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// bad makes processes of the release fail as s says.
func (r *rig) bad(release string, s script) {
	r.host.behaveBy(func(l app.Launch) script {
		if l.Spec.Release == release {
			return s
		}
		return script{boot: time.Second}
	})
}

func (r *rig) generationsAlive() map[int64]int {
	m := map[int64]int{}
	for _, p := range r.alive() {
		m[p.launch.Generation]++
	}
	return m
}

func TestApply_OverlappedReplacesOneAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(3), version("1")))
		res := r.apply(spec("web", instances(3), version("2")))
		if res[0].Action != ActionUpdated || !res[0].Replaces || !slices.Equal(res[0].ChangedPaths, []string{"release"}) {
			t.Fatalf("result %+v", res[0])
		}
		most, fewest := 0, 99
		r.until("it is complete", func() bool {
			most = max(most, len(r.host.alive()))
			fewest = min(fewest, len(r.proxies.ready("web")))
			if r.rollout(res[0].Rollout).Phase != app.RolloutComplete && r.app("web").Serving != 1 && r.generationsAlive()[2] < 3 {
				t.Fatal("it serves before all new ones are there")
			}
			return r.rollout(res[0].Rollout).Phase.Done()
		})
		r.ends(res[0].Rollout, app.RolloutComplete)
		if most != 4 || fewest != 3 {
			t.Errorf("at most %d alive and at least %d ready, want 4 and 3", most, fewest)
		}
		a := r.app("web")
		if a.Serving != 2 || a.PrevServing != 1 || r.disk.get("web").Serving != 2 || a.Generations[1].Outcome != app.RolloutComplete {
			t.Errorf("app %+v", a.Stored)
		}
		if got := r.generationsAlive(); got[2] != 3 || len(got) != 1 {
			t.Errorf("generations %v", got)
		}
	})
}

func TestApply_WaitsForMinReadyBeforeTheOldOneDrains(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		old := r.wantAlive(1)[0]
		r.apply(spec("web", version("2")))
		r.pass(2900 * time.Millisecond) // 1s boot, 2s min_ready
		if old.wasSignalled() || r.disk.get("web").Serving != 1 || len(r.proxies.ready("web")) != 1 {
			t.Fatal("the old one went before min_ready")
		}
		r.pass(200 * time.Millisecond)
		if !old.wasSignalled() || r.disk.get("web").Serving != 2 {
			t.Fatal("the old one stays after min_ready")
		}
	})
}

func TestApply_ANewInstanceTakesRequestsOnceItHasSettled(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.bad("2", script{boot: time.Second, exitAfter: 2 * time.Second})
		bad := r.apply(spec("web", version("2")))[0].Rollout
		r.ends(bad, app.RolloutFailed)
		for _, set := range r.proxies.history {
			for _, e := range set.Endpoints {
				if e.Generation == 2 {
					t.Fatalf("it was published before min_ready, and died: %+v", set)
				}
			}
		}
		good := r.apply(spec("web", version("3")))[0].Rollout
		r.ends(good, app.RolloutComplete)
		both := slices.IndexFunc(r.proxies.history, func(s app.EndpointSet) bool { return len(s.Endpoints) == 2 })
		if both < 0 {
			t.Fatal("the old one went before the new one was published")
		}
		for _, e := range r.proxies.history[both].Endpoints {
			if e.Draining {
				t.Errorf("%+v drains in the set that brings the new one", e)
			}
		}
	})
}

func TestApply_ANewInstanceTakesRequestsAtOnceWhereNoOldOneDoes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		old := r.wantAlive(1)[0]
		r.apply(spec("web", version("2")))
		r.pass(1500 * time.Millisecond)
		if got := r.proxies.ready("web"); len(got) != 1 || got[0].Generation != 1 {
			t.Fatalf("endpoints %v", got)
		}
		old.crash()
		r.pass(time.Millisecond)
		if got := r.proxies.ready("web"); len(got) != 1 || got[0].Generation != 2 {
			t.Fatalf("endpoints after the old one's end: %v", got)
		}
	})
}

func TestApply_ANewInstanceThatWasNeverPublishedIsNotDrained(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.apply(spec("web", version("2")))
		r.pass(1500 * time.Millisecond)
		r.proxies.update(func() { r.proxies.held = true })
		third := r.apply(spec("web", version("1")))[0].Rollout
		r.pass(3 * time.Second)
		if got := r.generationsAlive(); got[2] != 0 {
			t.Fatalf("it waits for the proxies, which never had it: %v, rollout %+v", got, r.rollout(third))
		}
	})
}

func TestApply_ANewerOneReplacesTheOneThatServesNotTheOneThatSettles(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.apply(spec("web", version("2")))
		r.pass(1500 * time.Millisecond)
		third := r.apply(spec("web", version("3")))[0].Rollout
		if got := r.generationsAlive(); got[1] != 1 || got[2] != 0 {
			t.Fatalf("generations %v", got)
		}
		r.ends(third, app.RolloutComplete)
		for _, set := range r.proxies.history {
			for _, e := range set.Endpoints {
				if e.Generation == 2 {
					t.Fatalf("it was published and has not settled: %+v", set)
				}
			}
		}
	})
}

func TestApply_ARollbackTellsHowLongAnInstanceWasReadyThatWasUnreadyFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		id := r.apply(spec("web", version("2")))[0].Rollout
		r.pass(1300 * time.Millisecond)
		for _, p := range r.wantAlive(2) {
			if p.launch.Generation == 2 {
				p.fallSick(errors.New("connection refused"))
				r.Failure("web", p.launch.ID, "refused", "")
				r.pass(10 * time.Millisecond)
				p.crash()
			}
		}
		if got := r.ends(id, app.RolloutFailed).Message; !strings.Contains(got, "was ready for 300ms only") {
			t.Errorf("message %q", got)
		}
	})
}

func TestApply_WithoutOverlapStopsFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1"), noOverlap))
		res := r.apply(spec("web", version("2"), noOverlap))
		r.until("it is complete", func() bool {
			if len(r.host.alive()) > 1 {
				t.Fatal("two copies run")
			}
			return r.rollout(res[0].Rollout).Phase.Done()
		})
		r.ends(res[0].Rollout, app.RolloutComplete)
		if got := r.generationsAlive(); got[2] != 1 {
			t.Errorf("generations %v", got)
		}
	})
}

func TestApply_WithoutOverlapFailureStartsTheOldAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1"), noOverlap))
		r.bad("2", script{boot: -1, exitAfter: time.Second, code: 9})
		res := r.apply(spec("web", version("2"), noOverlap))
		r.pass(100 * time.Millisecond)
		set, f := r.activate("web") // waits for the old one
		if f != nil || set.Endpoints[0].Generation != 1 {
			t.Fatalf("set %v, fault %v", set, f)
		}
		r.ends(res[0].Rollout, app.RolloutFailed)
	})
}

func TestApply_BadVersionIsRolledBack(t *testing.T) {
	tests := map[string]script{
		"never ready":           {boot: -1},
		"exits at once":         {boot: -1, exitAfter: 50 * time.Millisecond, code: 3},
		"dies within min_ready": {boot: time.Second, exitAfter: 2 * time.Second, code: 3},
		"cannot be launched":    {refuse: &app.StartError{Step: "command", Message: "it is not executable"}},
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.up(spec("web", version("1")))
				r.bad("2", s)
				res := r.apply(spec("web", version("2"), func(s *app.Spec) { s.Routes = []app.Route{{Host: "new.test"}} }))
				failed := r.ends(res[0].Rollout, app.RolloutFailed)
				if failed.Message == "" || failed.Output == "" {
					t.Errorf("rollout %+v", failed)
				}
				starts := r.recorder.count(app.EventInstanceStarting)
				r.pass(time.Minute)
				if got := r.recorder.count(app.EventInstanceStarting); got != starts || starts != 2 {
					t.Errorf("%d starts, then %d: something is retried", starts, got)
				}
				check := func(when string) {
					t.Helper()
					a := r.app("web")
					if a.Serving != 1 || a.Desired != 2 || a.State != app.StateRunning || r.generationsAlive()[1] != 1 {
						t.Errorf("%s: %s, %+v", when, a.State, a.Stored)
					}
					if !slices.ContainsFunc(a.Conditions, func(c app.Condition) bool {
						return c.Type == app.CondRolloutFailed && strings.Contains(c.Message, "output of")
					}) {
						t.Errorf("%s: conditions %v", when, a.Conditions)
					}
					if set, _ := r.proxies.Current("web"); set.Routes[0].Host != "web.test" {
						t.Errorf("%s: live fields are not undone: %v", when, set.Routes)
					}
				}
				check("after the rollback")
				r.wantAlive(1)[0].crash()
				r.pass(2 * time.Second)
				check("after a crash")
				r.reboot()
				check("after a restart of the daemon")
				r.wantAlive(1)[0].crash()
				r.pass(2 * time.Second)
				check("after that and a crash")
				if _, _, err := r.Scale(ctx, "web", 2, ""); err != nil {
					t.Fatal(err)
				}
				r.pass(2 * time.Second)
				if got := r.generationsAlive(); got[1] != 2 {
					t.Errorf("after scaling: %v", got)
				}
				// The next apply tries again.
				r.host.behave(script{boot: time.Second})
				res = r.apply(spec("web", version("2"), instances(2), func(s *app.Spec) { s.Routes = []app.Route{{Host: "new.test"}} }))
				if res[0].Action != ActionUnchanged || !res[0].Replaces {
					t.Errorf("result %+v", res[0])
				}
				r.ends(res[0].Rollout, app.RolloutComplete)
				if a := r.app("web"); a.Serving != 2 || len(a.Conditions) != 0 {
					t.Errorf("app %+v", a)
				}
			})
		})
	}
}

func TestApply_LaterFailureBringsBackWhatWasReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(3), version("1")))
		n := 0
		r.host.behaveBy(func(l app.Launch) script {
			if l.Spec.Release == "2" {
				if n++; n == 2 {
					return script{boot: -1, exitAfter: 10 * time.Millisecond, code: 1}
				}
			}
			return script{boot: time.Second}
		})
		res := r.apply(spec("web", instances(3), version("2")))
		r.ends(res[0].Rollout, app.RolloutFailed)
		r.until("the old generation is back", func() bool {
			if len(r.proxies.ready("web")) < 3 {
				t.Fatal("fewer are ready than before")
			}
			got := r.generationsAlive()
			return got[1] == 3 && len(got) == 1
		})
	})
}

func TestApply_CrashOfAnOldInstanceIsReplacedByTheServingGeneration(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.bad("2", script{boot: time.Minute})
		r.apply(spec("web", version("2")))
		for _, p := range r.wantAlive(2) {
			if p.launch.Generation == 1 {
				p.crash()
			}
		}
		r.pass(1500 * time.Millisecond)
		if got := r.proxies.ready("web"); len(got) != 1 || got[0].Generation != 1 {
			t.Fatalf("endpoints %v", got)
		}
	})
}

func TestApply_NewerOneSupersedes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.bad("2", script{boot: time.Hour})
		first := r.apply(spec("web", version("2")))[0].Rollout
		r.pass(time.Second)
		second := r.apply(spec("web", version("3")))[0].Rollout
		if got := r.rollout(first).Phase; got != app.RolloutSuperseded {
			t.Fatalf("the older rollout is %d", got)
		}
		if got := r.generationsAlive(); got[2] != 0 {
			t.Fatalf("its instances still start: %v", got)
		}
		r.ends(second, app.RolloutComplete)
		a := r.app("web")
		if a.Serving != 3 || a.PrevServing != 1 || a.Generations[1].Outcome != app.RolloutSuperseded {
			t.Errorf("app %+v", a.Stored)
		}
	})
}

func TestStopAndRemove_SupersedeEverything(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for _, verb := range []string{"stop", "rm"} {
			r.host.behave(script{boot: time.Second})
			r.up(spec("web", version("1")))
			r.bad("2", script{boot: time.Hour})
			first := r.apply(spec("web", version("2")))[0].Rollout
			var id string
			var err error
			if verb == "stop" {
				_, id, err = r.Stop(ctx, "web", "")
			} else {
				id, err = r.Delete(ctx, "web", "", "")
			}
			if err != nil {
				t.Fatal(err)
			}
			r.ends(first, app.RolloutSuperseded)
			r.ends(id, app.RolloutComplete)
			r.wantAlive(0)
			if verb == "stop" {
				// What was desired last is what a start brings.
				r.host.behave(script{boot: time.Second})
				_, id, err := r.Start(ctx, "web", "")
				if err != nil {
					t.Fatal(err)
				}
				r.ends(id, app.RolloutComplete)
				if got := r.generationsAlive(); got[2] != 1 {
					t.Errorf("generations %v", got)
				}
				if _, err := r.Delete(ctx, "web", "", ""); err != nil {
					t.Fatal(err)
				}
				r.wantAlive(0)
			}
		}
	})
}

func TestApply_LiveFieldsActAtOnceWhereNothingIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		res := r.apply(spec("web", func(s *app.Spec) { s.Routes[0].Host = "other.test"; s.Stop.Timeout = new(time.Minute) }))
		if res[0].Replaces || res[0].App.Serving != 2 {
			t.Fatalf("result %+v", res[0])
		}
		r.ends(res[0].Rollout, app.RolloutComplete)
		if set, _ := r.proxies.Current("web"); set.Routes[0].Host != "other.test" || len(set.Endpoints) != 1 {
			t.Fatalf("set %+v", set)
		}
		r.pass(time.Minute)
		if got := r.wantAlive(1)[0]; got != p {
			t.Fatal("it was replaced")
		}
	})
}

func TestApply_OfAColdAppServesAtOnceAndIsCompleteWithItsRoutes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.proxies.update(func() { r.proxies.held = true })
		first := r.apply(spec("web", version("1")))[0].Rollout
		r.pass(time.Minute)
		if got := r.rollout(first).Phase; got.Done() {
			t.Fatal("complete before the proxies have the routes")
		}
		r.proxies.update(func() { r.proxies.held = false })
		r.ends(first, app.RolloutComplete)
		res := r.apply(spec("web", version("2")))[0]
		r.ends(res.Rollout, app.RolloutComplete)
		if res.App.Serving != 2 || r.disk.get("web").Serving != 2 || r.host.count() != 0 {
			t.Fatalf("app %+v", res.App)
		}
	})
}

func TestApply_IsCompleteOnceEveryProxyHasItAndTheOldOnesAreGone(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		old := r.wantAlive(1)[0]
		old.script.stop = 5 * time.Second
		res := r.apply(spec("web", version("2")))
		r.pass(4 * time.Second)
		if r.rollout(res[0].Rollout).Phase.Done() {
			t.Fatal("complete while the old one ends")
		}
		r.proxies.update(func() { r.proxies.held = true })
		r.pass(10 * time.Second)
		r.wantAlive(1)
		if r.rollout(res[0].Rollout).Phase.Done() {
			t.Fatal("complete while a proxy does not have it")
		}
		r.proxies.update(func() { r.proxies.held = false })
		r.ends(res[0].Rollout, app.RolloutComplete)
	})
}

func TestApply_IsCompleteOnlyWithTheNewestRevision(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.proxies.acknowledge("web", 0)
		rollout := r.apply(spec("web"))[0].Rollout
		routes, _ := r.proxies.Current("web")
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		newest, _ := r.proxies.Current("web")
		if newest.Revision == routes.Revision {
			t.Fatal("an instance came and the set is the same")
		}
		r.proxies.acknowledge("web", routes.Revision)
		r.pass(time.Minute)
		if r.rollout(rollout).Phase.Done() {
			t.Fatal("complete with a revision that is not the newest any more")
		}
		r.proxies.acknowledge("web", newest.Revision)
		r.ends(rollout, app.RolloutComplete)
	})
}

func TestApply_ServingIsWrittenDownBeforeTheLastOldOneDrains(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		old := r.wantAlive(1)[0]
		res := r.apply(spec("web", version("2")))
		r.disk.fail(errors.New("no space left on device"))
		r.pass(time.Minute)
		if old.wasSignalled() || len(r.proxies.ready("web")) != 2 {
			t.Fatal("the old one was drained, though nobody would know who serves")
		}
		r.disk.fail(nil)
		r.ends(res[0].Rollout, app.RolloutComplete)
	})
}
