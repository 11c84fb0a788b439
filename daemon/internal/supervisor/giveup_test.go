package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// rapidFail sets restart.rapid_fails_per_minute and on_rapid_fail.
func rapidFail(limit int, then app.OnRapidFail) func(*app.Spec) {
	return func(s *app.Spec) { s.Restart.RapidFailsPerMinute, s.Restart.OnRapidFail = &limit, then }
}

// crashLoop applies an app whose instances crash, and waits until it is stopped.
func (r *rig) crashLoop(s app.Spec) {
	r.t.Helper()
	r.host.behave(script{boot: time.Millisecond, exitAfter: 2 * time.Millisecond, code: 7})
	r.apply(s)
	_, _ = r.activate(s.Name)
	r.until("it is stopped", func() bool { return r.app(s.Name).State == app.StateStopped })
}

// The module's rule: with a limit of 5 the sixth crash blocks, with 0 the first.
func TestRapidFail_TheCrashAfterTheLimitSpendsTheBudget(t *testing.T) {
	for limit, starts := range map[int]int{5: 6, 0: 1} {
		for _, then := range []app.OnRapidFail{app.RapidFailWait, app.RapidFailStop} {
			inBubble(t, func(t *testing.T, r *rig) {
				r.host.behave(script{boot: time.Millisecond, exitAfter: 2 * time.Millisecond, code: 7})
				r.apply(spec("web", onBoot, rapidFail(limit, then)))
				r.pass(40 * time.Second)
				if n := r.host.count(); n != starts {
					t.Errorf("limit %d, %s: %d starts, want %d", limit, then, n, starts)
				}
			})
		}
	}
}

func TestRapidFailStop_StopsDurablyAndSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.crashLoop(spec("web", onBoot, rapidFail(2, app.RapidFailStop)))
		if n := r.host.count(); n != 3 {
			t.Fatalf("%d starts, want 3", n)
		}
		for _, when := range []string{"at once", "after the window", "after another daemon"} {
			a := r.app("web")
			if a.State != app.StateStopped || len(a.Conditions) != 1 || a.Conditions[0].Type != app.CondRapidFail {
				t.Fatalf("%s: app %+v", when, a)
			}
			if !a.RetryTime.IsZero() {
				t.Errorf("%s: it is said to be tried again at %v", when, a.RetryTime)
			}
			if m := a.Conditions[0].Message; !strings.Contains(m, "more than 2 failures") || !strings.Contains(m, "roostctl start web") {
				t.Errorf("%s: condition %q", when, m)
			}
			_, f := r.activate("web")
			wantReason(t, f, app.ReasonAppStopped)
			if when == "at once" {
				r.pass(10 * time.Minute)
			} else {
				r.reboot()
			}
		}
		if n := r.host.count(); n != 3 {
			t.Fatalf("%d starts", n)
		}
		if r.recorder.count(app.EventAppRapidFail) != 1 || r.recorder.count(app.EventAppBlocked) != 0 {
			t.Error("events")
		}
	})
}

func TestRapidFailStop_StartApplyAndRecycleLiftIt(t *testing.T) {
	s := func(v string) app.Spec { return spec("web", version(v), rapidFail(1, app.RapidFailStop)) }
	for name, lift := range lifts(s) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.crashLoop(s("1"))
				r.host.behave(script{})
				if err := lift(r); err != nil {
					t.Fatal(err)
				}
				if _, f := r.activate("web"); f != nil {
					t.Fatal(f)
				}
				a := r.disk.get("web")
				if a.Stopped || a.RapidFail != nil || len(r.app("web").Conditions) != 0 {
					t.Fatalf("stored %+v", a)
				}
			})
		})
	}
}

func TestRapidFailStop_AnOperatorsStopIsHis(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.crashLoop(spec("web", rapidFail(0, app.RapidFailStop)))
		if _, _, err := r.Stop(ctx, "web", ""); err != nil {
			t.Fatal(err)
		}
		r.apply(spec("web", rapidFail(0, app.RapidFailStop), version("2")))
		if a := r.app("web"); a.State != app.StateStopped || len(a.Conditions) != 0 {
			t.Fatalf("app %+v", a)
		}
	})
}

func TestRapidFailStop_StopsWhatStillRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2), rapidFail(0, app.RapidFailStop)))
		r.wantAlive(2)[0].crash()
		synctest.Wait()
		r.wantState("web", app.StateStopped)
		r.pass(time.Minute)
		r.wantAlive(0)
	})
}

func TestRapidFailStop_AFullDiskDelaysIt(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", rapidFail(0, app.RapidFailStop)))
		r.disk.fail(errors.New("no space left on device"))
		r.wantAlive(1)[0].crash()
		r.pass(10 * time.Second)
		r.wantState("web", app.StateBlocked)
		r.disk.fail(nil)
		r.pass(2 * time.Second)
		r.wantState("web", app.StateStopped)
	})
}

// As the module's: a crashed app is started by the next request.
func TestRestartOnRequest_IsLazy(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", restart(app.RestartOnRequest)))
		r.wantAlive(1)[0].crash()
		r.pass(time.Hour)
		r.wantAlive(0)
		r.wantState("web", app.StateIdle)
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		r.wantAlive(1)
	})
}

func TestRapidFailStop_IsNoOlderThanTheLastWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", rapidFail(0, app.RapidFailStop)))
		if !r.stopForRapidFail(ctx, "web", 7, app.RapidFail{}) {
			t.Error("an app that has another version is stopped")
		}
		r.wantState("web", app.StateRunning)
		// One that was overtaken is not forgotten.
		c := r.controllers["web"]
		stop := c.stopUnasked
		c.shared = new(*c.shared)
		c.stopUnasked = func(ctx context.Context, name string, version int, why app.RapidFail) bool {
			c.stopUnasked = stop
			return r.stopForRapidFail(ctx, name, version-1, why)
		}
		r.wantAlive(1)[0].crash()
		synctest.Wait()
		r.wantState("web", app.StateStopped)
	})
}
