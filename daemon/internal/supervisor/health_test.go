package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// healthy has an app asked each 10 seconds, for 2 seconds, and replaced after 3
// failures: the defaults.
func healthy(s *app.Spec) { s.Health = &app.Health{} }

func TestHealth_FailingInstanceIsReplacedAndServesUntilThen(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", healthy, instances(2)))
		p, other := r.wantAlive(2)[0], r.wantAlive(2)[1]
		r.pass(time.Minute)
		p.fallSick(errors.New("answers 500"))
		fell := time.Now()
		for !closed(p.gone) {
			if n := len(r.proxies.ready("web")); n < 2 {
				t.Fatalf("%d take requests", n)
			}
			if time.Since(fell) > time.Minute {
				t.Fatal("it is not replaced")
			}
			r.pass(100 * time.Millisecond)
		}
		if took := time.Since(fell); took < 20*time.Second || took > 40*time.Second {
			t.Errorf("it was replaced after %v", took)
		}
		if list := r.wantAlive(2); !slices.Contains(list, other) {
			t.Error("the other one is replaced, too")
		}
		e := r.recorder.find(app.EventInstanceRecycled)
		if len(e) != 1 || e[0].Severity != app.Warning || e[0].Attributes["trigger"] != "health" || !strings.Contains(e[0].Message, "answers 500") {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestHealth_ASuccessResetsTheCount(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", healthy))
		p := r.wantAlive(1)[0]
		for range 10 {
			p.fallSick(errors.New("refused"))
			r.pass(20 * time.Second) // two checks
			p.fallSick(nil)
			r.pass(10 * time.Second)
		}
		if closed(p.gone) || r.host.count() != 1 {
			t.Fatal("it is replaced")
		}
	})
}

func TestHealth_OneThatHangsIsAskedOnceAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, probe: time.Hour})
		r.up(spec("web", func(s *app.Spec) {
			s.Health = &app.Health{Probe: app.Probe{Interval: new(time.Second), Timeout: new(5 * time.Second)}}
		}))
		p := r.wantAlive(1)[0]
		r.host.behave(script{boot: time.Second})
		r.pass(14 * time.Second)
		r.host.mu.Lock()
		checks := r.host.checks
		r.host.mu.Unlock()
		if checks > 3 {
			t.Errorf("it is asked %d times in 14s with a timeout of 5s", checks)
		}
		r.until("it is replaced", func() bool { return closed(p.gone) })
	})
}

func TestHealth_IsNotAskedWithoutBeingGivenNorWhileDraining(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		r.pass(10 * time.Minute)
		if r.host.checks != 0 {
			t.Fatalf("%d checks", r.host.checks)
		}
		r.apply(spec("web", healthy)) // it acts live
		r.pass(time.Minute)
		if n := r.host.checks; n < 5 || n > 6 {
			t.Fatalf("%d checks in a minute", n)
		}
		p := r.wantAlive(1)[0]
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 1 })
		if _, _, err := r.Stop(ctx, "web", ""); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Second)
		before := r.host.checks
		r.pass(28 * time.Second)
		if r.wantAlive(1); r.host.checks != before {
			t.Fatalf("%d checks while it drains", r.host.checks-before)
		}
	})
}

func TestHealth_ReplacementThatIsNotReadyKeepsTheOldOne(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", healthy))
		p := r.wantAlive(1)[0]
		r.host.behave(script{boot: -1, exitAfter: time.Second, code: 3})
		p.fallSick(errors.New("refused"))
		r.pass(10 * time.Minute)
		if closed(p.gone) || len(r.proxies.ready("web")) != 1 {
			t.Fatal("the old one is gone")
		}
		if n := r.recorder.count(app.EventRolloutFailed); n < 5 || n > 20 {
			t.Errorf("%d attempts in ten minutes", n)
		}
	})
}

func TestHealth_IsAskedWithItsOwnProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", func(s *app.Spec) {
			s.Health = &app.Health{Probe: app.Probe{Kind: app.ProbeHTTP, HTTP: app.HTTPCheck{Path: "/health"}}}
		}))
		r.pass(11 * time.Second)
		if got := r.host.checked.Spec.Ready; got.Kind != app.ProbeHTTP || got.HTTP.Path != "/health" || *got.Timeout != 2*time.Second {
			t.Fatalf("it is asked %+v", got)
		}
	})
}

// One that requests have found unready is replaced as soon, and not after
// start.timeout only.
func TestHealth_UnreadyInstanceIsReplacedToo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", healthy))
		p := r.wantAlive(1)[0]
		p.fallSick(errors.New("no answer"))
		r.Failure("web", p.launch.ID, "timeout", "")
		r.pass(time.Second)
		r.wantState("web", app.StateDegraded)
		r.pass(35 * time.Second)
		if list := r.proxies.ready("web"); len(list) != 1 || list[0].Instance == p.launch.ID {
			t.Fatalf("requests go to %+v", list)
		}
		r.until("it is gone", func() bool { return closed(p.gone) })
	})
}

// A check that no instance passes, for it asks the wrong thing, must not replace
// instances that serve for ever.
func TestHealth_CheckThatAlwaysFailsBacksOffAndSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		sick := func(err error) { r.host.behave(script{boot: time.Second, sick: err}) }
		sick(errors.New("answers 404"))
		r.up(spec("web", instances(2), func(s *app.Spec) {
			s.Health = &app.Health{Probe: app.Probe{Interval: new(5 * time.Second)}, Failures: new(1)}
		}))
		replaced := func(d time.Duration) int {
			before := r.recorder.count(app.EventInstanceRecycled)
			r.pass(d)
			return r.recorder.count(app.EventInstanceRecycled) - before
		}
		if n := replaced(15 * time.Second); n != 2 {
			t.Errorf("%d are replaced at first, want both, once", n)
		}
		wantCondition(t, r.app("web"), app.CondHealthFailing, "answers 404")
		if n := replaced(time.Hour); n < 20 || n > 50 {
			t.Errorf("%d are replaced in the first hour", n)
		}
		if n := replaced(time.Hour); n < 20 || n > 24 {
			t.Errorf("%d are replaced in the second hour, two in five minutes are enough", n)
		}
		if n := r.recorder.count(app.EventConditionAppeared); n != 1 {
			t.Errorf("%d events tell of the condition", n)
		}
		r.wantState("web", app.StateRunning)

		sick(nil)
		r.until("new ones are well", func() bool { return len(r.app("web").Conditions) == 0 })
		r.pass(time.Hour)
		for _, p := range r.wantAlive(2) {
			p.fallSick(errors.New("hangs"))
		}
		if n := replaced(10 * time.Second); n != 2 {
			t.Errorf("%d are replaced after an hour of health, want both at once", n)
		}
	})
}

func TestHealth_AWriteForgivesTheChecksThatFailed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, sick: errors.New("answers 404")})
		r.up(spec("web", healthy))
		r.pass(time.Hour)
		wantCondition(t, r.app("web"), app.CondHealthFailing, "answers 404")
		r.apply(spec("web"))
		if a := r.app("web"); len(a.Conditions) != 0 {
			t.Errorf("conditions %+v of an app that is not asked for its health", a.Conditions)
		}
	})
}

func wantCondition(t testing.TB, a app.App, kind, message string) {
	t.Helper()
	for _, c := range a.Conditions {
		if c.Type == kind && strings.Contains(c.Message, message) {
			return
		}
	}
	t.Fatalf("conditions %+v, want %s with %q", a.Conditions, kind, message)
}
