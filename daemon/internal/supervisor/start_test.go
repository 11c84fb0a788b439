package supervisor

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestActivate_ManyRequestsStartTheAppOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.wantState("web", app.StateIdle)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				set, f := r.activate("web")
				if f != nil || len(set.Endpoints) != 1 || set.Revision == 0 || set.Epoch == 0 {
					t.Errorf("set %+v, fault %v", set, f)
				}
			})
		}
		wg.Wait()
		if n := r.host.count(); n != 1 {
			t.Fatalf("%d launches for 200 requests", n)
		}
		r.wantState("web", app.StateRunning)
	})
}

func TestActivate_FailedStartReachesEveryWaiterAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.host.behave(script{boot: -1, exitAfter: 500 * time.Millisecond, code: 3})
		began := time.Now()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				_, f := r.activate("web")
				wantReason(t, f, app.ReasonStartFailed)
				if took := time.Since(began); took > 600*time.Millisecond {
					t.Errorf("it waited %v", took)
				}
				if f.RetryTime.Sub(began) != 1500*time.Millisecond || !strings.Contains(f.Message, "code 3") || f.Detail == "" || f.Revision == 0 {
					t.Errorf("fault %+v", f)
				}
			})
		}
		wg.Wait()
		r.wantState("web", app.StateFailed)
		r.wantAlive(0)
		if n := r.host.count(); n != 1 {
			t.Fatalf("%d launches, want one: only boot apps try again", n)
		}
		// Until retry_at, a request gets the same answer and starts nothing.
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartFailed)
		if n := r.host.count(); n != 1 {
			t.Fatalf("%d launches before retry_at", n)
		}
		r.pass(time.Second)
		r.host.behave(script{boot: time.Second})
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
	})
}

func TestActivate_StartTimeoutSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.host.behave(script{boot: -1, stop: -1})
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartTimeout)
		r.wantAlive(1)
		r.pass(10 * time.Second) // stop.timeout
		r.wantAlive(0)
	})
}

func TestActivate_RefusedLaunchSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.host.behave(script{refuse: &app.StartError{Step: "command", Message: "no-such-program is not in PATH"}})
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartFailed)
		if !strings.Contains(f.Message, "no-such-program") || r.recorder.count(app.EventStartFailed) != 1 {
			t.Fatalf("fault %v", f)
		}
	})
}

func TestActivate_ACallerThatLeavesCancelsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		short, cancel := testContext(100 * time.Millisecond)
		defer cancel()
		if _, err := r.Activate(short, "web", 0, 0, nil); err == nil {
			t.Fatal("no error")
		}
		r.pass(time.Second)
		r.wantState("web", app.StateRunning)
	})
}

func TestActivate_StoppedManualUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"), spec("hand", manual))
		_, f := r.activate("nobody")
		wantReason(t, f, app.ReasonAppNotFound)
		_, f = r.activate("hand")
		wantReason(t, f, app.ReasonAppManual)
		if _, _, err := r.Start(ctx, "hand", "test"); err != nil {
			t.Fatal(err)
		}
		if _, f := r.activate("hand"); f != nil {
			t.Fatal(f)
		}
		if _, _, err := r.Stop(ctx, "web", "test"); err != nil {
			t.Fatal(err)
		}
		_, f = r.activate("web")
		wantReason(t, f, app.ReasonAppStopped)
	})
}

func TestActivate_WaitersOfAStoppedAndOfARemovedApp(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("a"), spec("b"))
		r.host.behave(script{boot: time.Hour})
		faults := make(chan *app.Fault, 2)
		for _, name := range []string{"a", "b"} {
			go func() {
				_, f := r.activate(name)
				faults <- f
			}()
		}
		synctest.Wait()
		if _, _, err := r.Stop(ctx, "a", "test"); err != nil {
			t.Fatal(err)
		}
		wantReason(t, <-faults, app.ReasonAppStopped)
		if _, err := r.Delete(ctx, "b", "", "test"); err != nil {
			t.Fatal(err)
		}
		wantReason(t, <-faults, app.ReasonAppNotFound)
		r.wantAlive(0)
	})
}

func TestActivate_FailedInstancesAreProbedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		first := r.proxies.ready("web")[0].Instance
		// It answers again: no harm done.
		set, f := r.activate("web", first)
		if f != nil || set.Endpoints[0].Instance != first || r.host.checks != 1 {
			t.Fatalf("set %v, fault %v, %d checks", set, f, r.host.checks)
		}
		// It has died: the answer is another instance.
		r.wantAlive(1)[0].crash()
		set, f = r.activate("web", first)
		if f != nil || len(set.Endpoints) != 1 || set.Endpoints[0].Instance == first {
			t.Fatalf("set %v, fault %v", set, f)
		}
	})
}

func TestInstance_SickOneLeavesTheSetAndComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2)))
		p := r.wantAlive(2)[0]
		p.fallSick(errors.New("connection refused"))
		r.Failure("web", p.launch.ID, "refused", "")
		r.wantState("web", app.StateDegraded)
		if got := r.proxies.ready("web"); len(got) != 1 || got[0].Instance == p.launch.ID {
			t.Fatalf("endpoints %v", got)
		}
		p.fallSick(nil)
		r.pass(time.Second)
		if got := r.proxies.ready("web"); len(got) != 2 || r.host.count() != 2 {
			t.Fatalf("endpoints %v after %d launches", got, r.host.count())
		}
	})
}

func TestInstance_SickForTooLongIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		p.fallSick(errors.New("connection refused"))
		r.Failure("web", p.launch.ID, "refused", "")
		r.pass(119 * time.Second)
		if r.host.count() != 1 {
			t.Fatal("it was replaced before start.timeout")
		}
		r.pass(5 * time.Second)
		if got := r.wantAlive(1)[0]; got == p {
			t.Fatal("it was not replaced")
		}
		r.wantState("web", app.StateRunning)
	})
}

func TestBoot_AppStartsWithItsApplyAndWithTheDaemon(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		res := r.apply(spec("web", onBoot))
		r.ends(res[0].Rollout, app.RolloutComplete)
		r.wantState("web", app.StateRunning)
		for _, p := range r.wantAlive(1) {
			p.crash() // and the daemon with it
		}
		r.reboot()
		r.pass(2 * time.Second)
		r.wantState("web", app.StateRunning)
	})
}

func TestBoot_FailedStartFailsTheApplyAndIsRetried(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: -1, exitAfter: 10 * time.Millisecond, code: 1})
		res := r.apply(spec("web", onBoot))
		got := r.ends(res[0].Rollout, app.RolloutFailed)
		if !strings.Contains(got.Message, "code 1") || got.Output == "" {
			t.Fatalf("rollout %+v", got)
		}
		r.host.behave(script{boot: time.Second})
		r.until("it runs", func() bool { return r.app("web").State == app.StateRunning })
	})
}

func TestStart_RequestsGoBeforeBoots(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second})
		var boots []app.Spec
		for _, n := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			boots = append(boots, spec(n, onBoot))
		}
		r.apply(append(boots, spec("web"))...)
		began := time.Now()
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		if took := time.Since(began); took > 2100*time.Millisecond {
			t.Errorf("the request waited %v behind boots", took)
		}
		r.pass(10 * time.Second)
		if r.host.parallel > 4 {
			t.Errorf("%d starts at once, limit 4", r.host.parallel)
		}
		r.wantAlive(9)
	})
}

func TestStart_ThatTakesLongKeepsNobodyElseFromStarting(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: -1})
		r.apply(spec("a", onBoot), spec("b", onBoot), spec("c", onBoot), spec("d", onBoot), spec("web"))
		r.host.behave(script{boot: time.Second})
		began := time.Now()
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		if took := time.Since(began); took > turnLimit+2*time.Second {
			t.Errorf("it waited %v for starts that wait for something", took)
		}
	})
}

// Workers are ready after recycle.min_ready, however soon they have booted.
func TestStart_OfManyWorkersTakesNotMinReadyEach(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: 5 * time.Second})
		var workers []app.Spec
		for n := range int64(40) {
			workers = append(workers, spec("worker"+number(n), onBoot, func(s *app.Spec) { s.Listen.Mode, s.Routes = app.ListenNone, nil }))
		}
		r.apply(workers...)
		r.pass(5*time.Second + 40/4*workerTurn)
		for _, i := range r.Instances().All() {
			if i.Phase != app.PhaseReady {
				t.Fatalf("instance %+v is not ready", i)
			}
		}
		r.wantAlive(40)
	})
}

func TestPort_StrangersOnDynamicPortsArePassedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		first := r.ports.next
		for p := range 99 { // all but one
			r.host.strangers[20000+(first-20000+p)%100] = "pid 7 (nginx)"
		}
		set, f := r.activate("web")
		if f != nil || r.host.count() != 1 || !strings.HasSuffix(set.Endpoints[0].Address, number(int64(20000+(first-20000+99)%100))) {
			t.Fatalf("set %v, fault %v", set, f)
		}
	})
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		for p := 20000; p < 20100; p++ {
			r.host.strangers[p] = "pid 7 (nginx)"
		}
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartFailed)
		if !strings.Contains(f.Message, "pid 7 (nginx)") || !strings.Contains(f.Message, "20000-20099") || r.recorder.count(app.EventInstanceStarting) != 1 {
			t.Fatalf("fault %v after %d starts", f, r.recorder.count(app.EventInstanceStarting))
		}
	})
}

func TestPort_AStartThatFailsForAStrangerIsTriedOnAPortThatIsFree(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.host.behaveBy(func(l app.Launch) script {
			if r.host.launches > 1 {
				return script{boot: time.Second}
			}
			r.host.strangers[l.Port] = "pid 7 (nginx)" // it came after the choice
			if next := l.Port + 1; next < 20100 {
				r.host.strangers[next] = "pid 7 (nginx)"
			}
			return script{boot: -1, exitAfter: 10 * time.Millisecond, code: 1}
		})
		if _, f := r.activate("web"); f != nil || r.host.count() != 2 {
			t.Fatalf("fault %v after %d launches", f, r.host.count())
		}
	})
}

// A keeper that dies in the middle of a start costs the request that asked for it
// nothing. One that keeps dying does.
func TestActivate_AStartThatTheKeeperDidNotSurviveIsTriedOnceMore(t *testing.T) {
	lost := script{refuse: &app.StartError{Step: "fork", Message: "the keeper could not start it", Lost: true}}
	for most, want := range map[int]int{1: 2, 5: 2} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.apply(spec("web"))
			r.host.behaveBy(func(app.Launch) script {
				if r.host.launches > most {
					return script{boot: time.Second}
				}
				return lost
			})
			_, f := r.activate("web")
			if (f == nil) != (most == 1) || r.host.count() != want {
				t.Errorf("lost up to %d times: fault %v after %d launches, want %d", most, f, r.host.count(), want)
			}
		})
	}
}

func TestPort_FixedOneInUseNamesItsOwner(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.strangers[8080] = "pid 7 (nginx)"
		res := r.apply(spec("web", noOverlap, func(s *app.Spec) { s.Listen.Port = 8080 }))
		if w := res[0].Warnings; len(w) != 1 || w[0].Field != "apps.web.listen.port" {
			t.Errorf("warnings %v", w)
		}
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartFailed)
		if !strings.Contains(f.Message, "8080") || !strings.Contains(f.Message, "nginx") {
			t.Fatal(f)
		}
	})
}
