package supervisor

import (
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestApply_LiveFieldsActWhenTheRolloutIsWrittenDown(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.apply(spec("web", version("2"), func(s *app.Spec) { s.Routes = []app.Route{{Host: "new.test"}} }))
		host := func() string {
			set, _ := r.proxies.Current("web")
			return set.Routes[0].Host
		}
		r.pass(2900 * time.Millisecond)
		if host() != "web.test" {
			t.Fatal("they act before the new generation serves")
		}
		r.pass(200 * time.Millisecond)
		if host() != "new.test" {
			t.Fatal("they do not act with the new generation")
		}
	})
}

func TestWorker_RunsFromItsApplyWithoutAnEndpoint(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: 2 * time.Second, nowhere: true})
		s := spec("job", func(s *app.Spec) { s.Listen.Mode, s.Routes = app.ListenNone, nil })
		r.ends(r.apply(s)[0].Rollout, app.RolloutComplete)
		r.wantState("job", app.StateRunning)
		if set, _ := r.proxies.Current("job"); len(set.Endpoints) != 0 {
			t.Fatalf("endpoints %v", set.Endpoints)
		}
		// A new version replaces it as it does every app's.
		s.Release = "2"
		r.ends(r.apply(s)[0].Rollout, app.RolloutComplete)
		if got := r.generationsAlive(); got[2] != 1 || len(got) != 1 {
			t.Fatalf("generations %v", got)
		}
	})
}

func TestWorker_ThatIsDoneIsIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, nowhere: true, exitAfter: 5 * time.Second})
		r.apply(spec("job", restart(app.RestartOnFailure), func(s *app.Spec) { s.Listen.Mode, s.Routes = app.ListenNone, nil }))
		r.pass(time.Minute)
		r.wantAlive(0)
		r.wantState("job", app.StateIdle)
		if r.host.count() != 1 {
			t.Fatalf("%d starts", r.host.count())
		}
	})
}

func TestConditions_ComeFromTheNewestProcessAndGoWithIt(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{conditions: map[string]string{app.CondRunsAsRoot: "no account roost-app"}})
		r.up(spec("web"))
		r.Condition("web", "", app.CondWeakOwnerCheck, "no CAP_SYS_PTRACE")
		got := r.app("web").Conditions
		if len(got) != 2 || got[0].Type != app.CondRunsAsRoot || got[1].Type != app.CondWeakOwnerCheck || got[0].Time.IsZero() {
			t.Fatalf("conditions %+v", got)
		}
		r.host.behave(script{})
		r.wantAlive(1)[0].crash()
		r.pass(time.Second)
		got = r.app("web").Conditions
		if len(got) != 1 || got[0].Type != app.CondWeakOwnerCheck || r.recorder.count(app.EventConditionAppeared) != 2 || r.recorder.count(app.EventConditionDisappear) != 1 {
			t.Fatalf("conditions %+v", got)
		}
	})
}

func TestFailure_ManyReportsAreOneProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{probe: 100 * time.Millisecond})
		r.up(spec("web"))
		id := r.wantAlive(1)[0].launch.ID
		for range 50 {
			r.Failure("web", id, "refused", "connection refused")
		}
		r.Failure("web", "unknown", "refused", "")
		r.Failure("nobody", id, "refused", "")
		r.pass(time.Second)
		if r.host.checks != 1 || r.recorder.count(app.EventEndpointFailure) != 1 {
			t.Fatalf("%d probes, %d events", r.host.checks, r.recorder.count(app.EventEndpointFailure))
		}
		r.wantState("web", app.StateRunning)
	})
}

func TestFailure_OfEveryRequestDoesNotFillTheEventLog(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		id := r.wantAlive(1)[0].launch.ID
		for range 1000 {
			r.Failure("web", id, "reset", "connection reset")
			r.pass(20 * time.Millisecond)
		}
		if n := r.recorder.count(app.EventEndpointFailure); n != 2 {
			t.Fatalf("%d events of 20 seconds", n)
		}
		if got := r.recorder.last(app.EventEndpointFailure).Attributes["reports"]; got != "500" {
			t.Errorf("the event stands for %s reports, want 500", got)
		}
		if got := r.recorder.last(app.EventEndpointFailure).Attributes["generation"]; got != "1" {
			t.Errorf("the event names generation %q, as every one of an instance does", got)
		}
		if r.host.checks != 1000 {
			t.Errorf("%d probes of 1000 failures", r.host.checks)
		}
	})
}

func TestCrash_DuringAProbeIsSeenAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{probe: time.Minute})
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		r.Failure("web", p.launch.ID, "reset", "")
		r.pass(time.Second)
		p.crash()
		r.pass(time.Millisecond)
		if r.host.count() != 2 {
			t.Fatal("it is noticed only after the probe")
		}
	})
}
