package supervisor

import (
	"net/http"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func warm(s *app.Spec) { s.Start.Warmup = "/warm" }

func TestWarmup_TakesNoRequestBeforeItIsAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, warmup: http.StatusOK})
		r.apply(spec("web", onBoot, warm)) // preloaded
		r.pass(3900 * time.Millisecond)
		if n := len(r.proxies.ready("web")); n != 0 {
			t.Fatal("it takes requests while it warms up")
		}
		r.pass(200 * time.Millisecond)
		list := r.proxies.ready("web")
		if len(list) != 1 || len(r.host.warmed) != 1 || r.host.warmed[0] != "/warm at "+list[0].Address {
			t.Fatalf("it takes requests at %v, was warmed up by %q", list, r.host.warmed)
		}
		old := r.wantAlive(1)[0]
		_, id, err := r.Recycle(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.pass(3900 * time.Millisecond)
		if i, _ := r.Instances().Get(r.wantAlive(2)[1].launch.ID); i.Phase != app.PhaseStarting || closed(old.gone) {
			t.Fatalf("the new one is %+v", i)
		}
		r.ends(id, app.RolloutComplete)
		if e := r.recorder.find(app.EventInstanceWarm); len(e) != 2 || e[0].Severity != app.Info {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestWarmup_AnyAnswerWillDoAndABadOneIsSaid(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, warmup: http.StatusInternalServerError})
		r.up(spec("web", warm))
		if e := r.recorder.find(app.EventInstanceWarm); len(e) != 1 || e[0].Severity != app.Warning {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestWarmup_NoAnswerInTimeIsAFailedStart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second})
		r.apply(spec("web", warm, func(s *app.Spec) { s.Start.Timeout = new(20 * time.Second) }))
		began := time.Now()
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartTimeout)
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("it failed after %v", took)
		}
		r.pass(time.Minute)
		r.wantAlive(0)
	})
}

func TestWarmup_OneThatIsToldToStopMeanwhileStops(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second})
		r.apply(spec("web", onBoot, warm))
		r.pass(10 * time.Second)
		if _, _, err := r.Stop(ctx, "web", ""); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Second)
		r.wantAlive(0)
	})
}
