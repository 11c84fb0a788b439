package supervisor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestCrash_SetIsPublishedWithoutItAtOnceAndItIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, linger: time.Minute})
		r.up(spec("web", instances(2)))
		p := r.wantAlive(2)[0]
		before := time.Now()
		p.crash()
		synctest.Wait()
		if got := r.proxies.ready("web"); len(got) != 1 || got[0].Instance == p.launch.ID {
			t.Fatalf("endpoints %v", got)
		}
		r.wantState("web", app.StateDegraded)
		r.until("it is replaced, though not all of it is gone", func() bool { return len(r.proxies.ready("web")) == 2 })
		if took := time.Since(before); took > 1100*time.Millisecond {
			t.Errorf("the replacement took %v, a boot is 1s", took)
		}
		r.pass(time.Minute)
		i, _ := r.Instances().Get(p.launch.ID)
		if i.Phase != app.PhaseExited || i.Exit == nil || i.Exit.Signal == 0 || i.OutputTail == "" {
			t.Fatalf("instance %+v", i)
		}
	})
}

func TestCrash_WithoutOverlapTheOldOneMustBeGoneFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, linger: 500 * time.Millisecond})
		r.up(spec("web", noOverlap))
		r.wantAlive(1)[0].crash()
		r.pass(400 * time.Millisecond)
		if r.host.count() != 1 {
			t.Fatal("two copies run")
		}
		r.pass(200 * time.Millisecond)
		if r.host.count() != 2 {
			t.Fatal("it was not replaced")
		}
	})
}

func TestRestart_FirstIsImmediateThenBackoffDoubles(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", func(s *app.Spec) { s.Restart.MaxBackoff = new(400 * time.Millisecond) }))
		r.host.behave(script{boot: time.Millisecond, exitAfter: 2 * time.Millisecond})
		r.wantAlive(1)[0].crash()
		r.pass(50 * time.Second) // ten failures in a row, and no more: the budget
		var starts []time.Time
		for _, p := range r.host.all()[1:] {
			starts = append(starts, p.info.StartTime)
		}
		want := []time.Duration{100, 200, 400, 400, 400}
		for i, w := range want {
			if got := starts[i+1].Sub(starts[i]) - 2*time.Millisecond; got != w*time.Millisecond {
				t.Errorf("pause %d is %v, want %v", i, got, w*time.Millisecond)
			}
		}
		if len(starts) != 10 {
			t.Errorf("%d restarts, want 10", len(starts))
		}
	})
}

func TestRestart_StreakEndsAfterTenSecondsReady(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		for range 4 {
			r.pass(12 * time.Second)
			at := time.Now()
			r.wantAlive(1)[0].crash()
			p := r.wantAlive(1)[0]
			if !p.info.StartTime.Equal(at) {
				t.Fatalf("restarted %v after the crash", p.info.StartTime.Sub(at))
			}
		}
	})
}

func TestRapidFail_BlocksUntilTheWindowPasses(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Millisecond, exitAfter: 2 * time.Millisecond})
		r.apply(spec("web", func(s *app.Spec) { s.Restart.RapidFailsPerMinute = new(2) }))
		began := time.Now()
		_, _ = r.activate("web")
		r.until("it is blocked", func() bool { return r.app("web").State == app.StateBlocked })
		if n := r.host.count(); n != 3 {
			t.Fatalf("%d starts, want 3", n)
		}
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonRapidFail)
		if wait := f.RetryTime.Sub(began); wait < 59*time.Second || wait > 61*time.Second || r.host.count() != 3 {
			t.Fatalf("retry after %v, %d starts", wait, r.host.count())
		}
		if !r.app("web").RetryTime.Equal(f.RetryTime) || r.recorder.count(app.EventAppBlocked) != 1 {
			t.Error("the block is not shown")
		}
		r.host.behave(script{})
		time.Sleep(time.Until(f.RetryTime))
		r.wantState("web", app.StateIdle)
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
	})
}

func TestRapidFail_StartApplyAndRecycleLiftTheBlockByANewRevision(t *testing.T) {
	s := func(v string) app.Spec {
		return spec("web", version(v), func(s *app.Spec) { s.Restart.RapidFailsPerMinute = new(0) })
	}
	for name, lift := range lifts(s) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.host.behave(script{exitAfter: time.Millisecond, boot: -1})
				r.apply(s("1"))
				_, _ = r.activate("web")
				_, f := r.activate("web")
				wantReason(t, f, app.ReasonRapidFail)
				r.host.behave(script{})
				if err := lift(r); err != nil {
					t.Fatal(err)
				}
				set, f := r.activate("web")
				if f != nil || set.Revision <= 2 {
					t.Fatalf("set %+v, fault %v", set, f)
				}
			})
		})
	}
}

func TestRapidFail_BootAppComesBackByItself(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: -1, exitAfter: time.Millisecond})
		r.apply(spec("web", onBoot, func(s *app.Spec) { s.Restart.RapidFailsPerMinute = new(1) }))
		r.until("it is blocked", func() bool { return r.app("web").State == app.StateBlocked })
		r.host.behave(script{})
		r.pass(59 * time.Second)
		r.wantState("web", app.StateBlocked)
		r.pass(2 * time.Second)
		r.wantState("web", app.StateRunning)
	})
}

func TestRestart_WhenSaysWhatTheDaemonDoesUnasked(t *testing.T) {
	tests := map[string]struct {
		when app.RestartWhen
		code int
		back bool
	}{
		"always, clean":      {app.RestartAlways, 0, true},
		"always, failed":     {app.RestartAlways, 1, true},
		"on-failure, clean":  {app.RestartOnFailure, 0, false},
		"on-failure, failed": {app.RestartOnFailure, 1, true},
		"on-request, failed": {app.RestartOnRequest, 1, false},
		"never, failed":      {app.RestartNever, 1, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.up(spec("web", restart(tt.when)))
				r.wantAlive(1)[0].end(app.Exit{Code: tt.code})
				r.pass(5 * time.Second)
				if got := len(r.alive()) == 1; got != tt.back {
					t.Fatalf("restarted: %v, want %v", got, tt.back)
				}
				// A request starts it whatever restart.when says.
				if _, f := r.activate("web"); f != nil {
					t.Fatal(f)
				}
			})
		})
	}
}

func TestRestart_NeverLeavesTheOtherInstancesAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(3), restart(app.RestartNever)))
		r.wantAlive(3)[1].crash()
		r.pass(time.Minute)
		r.wantAlive(2)
		r.wantState("web", app.StateDegraded)
		for _, p := range r.alive() {
			p.crash()
		}
		r.wantAlive(0)
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		r.pass(time.Second)
		r.wantAlive(3)
	})
}

func TestRestart_ANewGenerationForgetsWhatTheOldOneDidNotBringBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2), restart(app.RestartNever)))
		res := r.apply(spec("web", instances(2), version("2")))
		r.pass(100 * time.Millisecond)
		r.wantAlive(3)[0].crash() // an old one
		r.ends(res[0].Rollout, app.RolloutComplete)
		r.pass(time.Minute)
		r.wantAlive(2)
		r.wantState("web", app.StateRunning)
	})
}

func TestRestart_ReplacementOfAReadyInstanceIsRetriedWithBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		r.host.behave(script{boot: -1, exitAfter: 10 * time.Millisecond, code: 1})
		r.wantAlive(1)[0].crash()
		r.pass(400 * time.Millisecond)
		if n := r.host.count(); n != 4 { // at 0, 110 and 320 ms
			t.Fatalf("%d starts", n)
		}
		r.host.behave(script{})
		r.pass(time.Second)
		r.wantState("web", app.StateRunning)
	})
}

func TestStart_OneOfSeveralFailsAndIsTriedAgainOnceAnotherIsReady(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		n := 0
		r.host.behaveBy(func(app.Launch) script {
			if n++; n == 1 {
				return script{boot: -1, exitAfter: time.Millisecond, code: 1}
			}
			return script{boot: time.Second}
		})
		r.apply(spec("web", instances(2)))
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		r.pass(2 * time.Second)
		r.wantAlive(2)
		r.wantState("web", app.StateRunning)
	})
}

// lifts are the ways in which an operator lifts a block of web, whose spec is s of
// version 1.
func lifts(s func(version string) app.Spec) map[string]func(r *rig) error {
	apply := func(version string) func(r *rig) error {
		return func(r *rig) error {
			_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{s(version)}})
			return err
		}
	}
	return map[string]func(r *rig) error{
		"start":          func(r *rig) error { _, _, err := r.Start(ctx, "web", ""); return err },
		"recycle":        func(r *rig) error { _, _, err := r.Recycle(ctx, "web", ""); return err },
		"apply":          apply("2"),
		"the same apply": apply("1"),
	}
}
