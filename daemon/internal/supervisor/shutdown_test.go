package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestStopAll_StopsEverythingAtOnceAndChangesNoDesiredState(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: time.Second})
		r.up(spec("a"), spec("b", instances(3)), spec("c", onBoot))
		began := time.Now()
		n, lingering, err := r.StopAll(ctx)
		if err != nil || n != 5 || len(lingering) != 0 {
			t.Fatalf("%d stopped, %v linger, %v", n, lingering, err)
		}
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("one after the other: %v", took)
		}
		r.wantAlive(0)
		if _, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("d")}}); app.KindOf(err) != app.Unavailable {
			t.Errorf("a write was accepted: %v", err)
		}
		_, f := r.activate("a")
		wantReason(t, f, app.ReasonShuttingDown)
		r.host.behave(script{boot: time.Millisecond})
		r.reboot()
		r.pass(time.Second)
		r.wantState("a", app.StateIdle)
		r.wantState("c", app.StateRunning)
	})
}

func TestStopAll_SaysWhyItKills(t *testing.T) {
	for patience, want := range map[time.Duration]string{
		time.Second: "the daemon ends before stop.timeout",
		time.Hour:   "it did not end within stop.timeout",
	} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.host.behave(script{stop: -1})
			r.up(spec("a"))
			ctx, cancel := testContext(patience)
			defer cancel()
			if _, _, err := r.StopAll(ctx); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := r.recorder.message(app.EventInstanceKilled); !strings.Contains(got, want) {
				t.Errorf("with a patience of %v: %q, want %q", patience, got, want)
			}
		})
	}
}

func TestStopAll_KillsAndNamesWhatLingers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: -1, linger: time.Hour})
		r.up(spec("a"))
		r.host.behave(script{stop: -1})
		r.up(spec("b"))
		limit, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		n, lingering, err := r.StopAll(limit)
		if err != nil || n != 1 || len(lingering) != 1 || lingering[0].App != "a" || lingering[0].Instance == "" {
			t.Fatalf("%d stopped, %v linger, %v", n, lingering, err)
		}
	})
}

// What not even SIGKILL ends does not keep the daemon for ever.
func TestStopAll_EndsThoughAProcessHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: -1, linger: time.Hour})
		r.up(spec("a"))
		began := time.Now()
		n, lingering, err := r.StopAll(ctx)
		if err != nil || n != 0 || len(lingering) != 1 {
			t.Fatalf("%d stopped, %v linger, %v", n, lingering, err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("that took %v", took)
		}
	})
}

func TestStopAll_KillsWhatDidNotStartAndEndsSlowly(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: 100 * time.Millisecond, unfit: errors.New("it listens elsewhere"), stop: -1})
		r.apply(spec("web", func(s *app.Spec) { s.Stop.Timeout = new(10 * time.Minute) }))
		if _, f := r.activate("web"); f == nil {
			t.Fatal("an app that is unfit has started")
		}
		r.wantAlive(1)
		limit, cancel := testContext(time.Second)
		defer cancel()
		_, lingering, err := r.StopAll(limit)
		if err != nil || len(lingering) > 0 {
			t.Fatalf("%v lingers: %v", lingering, err)
		}
		r.wantAlive(0)
	})
}

func TestDetach_LeavesProcessesAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2)))
		before := r.wantAlive(2)
		r.Detach()
		synctest.Wait()
		if _, f := r.activate("web"); f == nil || f.Reason != app.ReasonShuttingDown && f.Reason != app.ReasonAppNotFound {
			t.Errorf("fault %+v", f)
		}
		r.reboot()
		if !slices.Equal(r.wantAlive(2), before) {
			t.Fatal("they were touched")
		}
		r.wantState("web", app.StateRunning)
		if before[0].wasSignalled() {
			t.Fatal("signalled")
		}
	})
}
