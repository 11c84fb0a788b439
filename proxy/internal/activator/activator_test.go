package activator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
)

func TestWait_ManyRequestsShareOneCall(t *testing.T) {
	inBubble(t, ready(3*time.Second), func(t *testing.T, w *world) {
		var outs []<-chan outcome
		for range 200 {
			outs = append(outs, w.wait(t.Context()))
		}
		synctest.Wait()
		if n := w.pool().Load().Queued; n != 200 {
			t.Errorf("%d queued, want 200", n)
		}
		for _, out := range outs {
			(<-out).want(t, "", 3*time.Second)
		}
		asked := w.questions()
		if len(asked) != 1 {
			t.Fatalf("%d calls, want 1", len(asked))
		}
		if q := asked[0]; q.app != "app" || q.epoch != 1 || q.revision != 1 {
			t.Errorf("asked %+v, want app at epoch 1, revision 1", q)
		}
		if n := w.pool().Load().Queued; n != 0 {
			t.Errorf("%d still queued", n)
		}
	})
}

func TestWait_QueueFullIsRefusedAtOnce(t *testing.T) {
	inBubble(t, ready(time.Second), func(t *testing.T, w *world) {
		w.revision++
		w.apply(backend.Policy{Queue: 3, QueueTimeout: time.Minute})
		var held []<-chan outcome
		for range 3 {
			held = append(held, w.wait(t.Context()))
		}
		synctest.Wait()
		out := <-w.wait(t.Context())
		out.want(t, "queue-full", 0)
		if f, ok := errors.AsType[*Failure](out.err); !ok || !f.RetryAt.After(time.Now()) {
			t.Errorf("no hint when to come again: %+v", out.err)
		}
		for _, h := range held {
			(<-h).want(t, "", time.Second)
		}
	})
}

func TestWait_LastRequestLeavingDoesNotCancelTheStart(t *testing.T) {
	inBubble(t, ready(3*time.Second), func(t *testing.T, w *world) {
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		(<-w.wait(ctx)).want(t, context.DeadlineExceeded.Error(), time.Second)
		time.Sleep(time.Second)
		(<-w.wait(t.Context())).want(t, "", time.Second)
		if n := len(w.questions()); n != 1 {
			t.Errorf("%d calls, want the second request to have joined the first's", n)
		}
	})
}

func TestWait_RefusalReachesEverybodyAndIsKept(t *testing.T) {
	start := refuse(2*time.Second, Failure{Code: "start-failed", RetryAt: time.Time{}})
	inBubble(t, start, func(t *testing.T, w *world) {
		outs := []<-chan outcome{w.wait(t.Context()), w.wait(t.Context()), w.wait(t.Context())}
		for _, out := range outs {
			(<-out).want(t, "start-failed", 2*time.Second)
		}
		time.Sleep(time.Hour)
		(<-w.wait(t.Context())).want(t, "start-failed", 0)
		if n := len(w.questions()); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		w.publish() // an operator's start
		(<-w.wait(t.Context())).want(t, "start-failed", 2*time.Second)
		if n := len(w.questions()); n != 2 {
			t.Errorf("%d calls, want a second one after a newer revision", n)
		}
	})
}

func TestWait_RefusalIsKeptUntilRetryAt(t *testing.T) {
	answer := func(w *world, q question) error {
		return &Failure{Code: "rapid-fail", RetryAt: time.Now().Add(5 * time.Second), Epoch: 1, Revision: 9}
	}
	inBubble(t, answer, func(t *testing.T, w *world) {
		(<-w.wait(t.Context())).want(t, "rapid-fail", 0)
		w.publish() // revision 2, while the daemon refused from 9
		time.Sleep(5*time.Second - 1)
		(<-w.wait(t.Context())).want(t, "rapid-fail", 0)
		if n := len(w.questions()); n != 1 {
			t.Errorf("%d calls before RetryAt, want 1", n)
		}
		time.Sleep(1)
		(<-w.wait(t.Context())).want(t, "rapid-fail", 0)
		if n := len(w.questions()); n != 2 {
			t.Errorf("%d calls after RetryAt, want 2", n)
		}
	})
}

func TestWait_RefusalOfAnotherEpochDoesNotHold(t *testing.T) {
	inBubble(t, refuse(0, Failure{Code: "stopped"}), func(t *testing.T, w *world) {
		(<-w.wait(t.Context())).want(t, "stopped", 0)
		w.registry.Replace([]backend.Set{{App: "app", Epoch: 2, Revision: 1, Policy: policy}}, func() {})
		(<-w.wait(t.Context())).want(t, "stopped", 0)
		if n := len(w.questions()); n != 2 {
			t.Errorf("%d calls, want the new daemon to be asked too", n)
		}
	})
}

func TestWait_QueueTimeout(t *testing.T) {
	inBubble(t, ready(2*time.Minute), func(t *testing.T, w *world) {
		(<-w.wait(t.Context())).want(t, "queue-timeout", time.Minute+sameMoment)
	})
}

func TestWait_StartThatFailsAsTheTimeIsUpWins(t *testing.T) {
	for _, late := range []time.Duration{0, 20 * time.Millisecond} {
		start := refuse(time.Minute+late, Failure{Code: "start-timeout"})
		inBubble(t, start, func(t *testing.T, w *world) {
			(<-w.wait(t.Context())).want(t, "start-timeout", time.Minute+late)
		})
	}
}

func TestWait_ReadyEndpointOfTheWatchComesBeforeTheAnswer(t *testing.T) {
	inBubble(t, ready(time.Minute), func(t *testing.T, w *world) {
		out := w.wait(t.Context())
		time.Sleep(time.Second)
		w.publish() // a change that brings nothing
		time.Sleep(time.Second)
		w.publish("other")
		(<-out).want(t, "", 2*time.Second)
		if n := len(w.questions()); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestWait_AnswerWithoutEndpointAsksOnceMore(t *testing.T) {
	answer := func(w *world, q question) error { sleep(q.ctx, time.Second); return nil }
	inBubble(t, answer, func(t *testing.T, w *world) {
		a, b := w.wait(t.Context()), w.wait(t.Context())
		(<-a).want(t, "backend-lost", 2*time.Second)
		(<-b).want(t, "backend-lost", 2*time.Second)
		if n := len(w.questions()); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

func TestWait_FailedInstanceIsNamedAndProbedAgain(t *testing.T) {
	answer := func(w *world, q question) error {
		if !slices.Equal(q.failed, []string{"a"}) {
			return errors.New("the failed instance was not named")
		}
		sleep(q.ctx, time.Second)
		return nil // it is still ready, as the daemon sees it
	}
	inBubble(t, answer, func(t *testing.T, w *world) {
		w.publish("a")
		(<-w.wait(t.Context(), "a")).want(t, "", time.Second)
	})
}

func TestWait_FailedInstanceInACallThatDidNotNameItAsksAgain(t *testing.T) {
	answer := func(w *world, q question) error {
		sleep(q.ctx, time.Second)
		w.publish("a")
		return nil
	}
	inBubble(t, answer, func(t *testing.T, w *world) {
		first := w.wait(t.Context())
		synctest.Wait()
		second := w.wait(t.Context(), "a")
		(<-first).want(t, "", time.Second)
		(<-second).want(t, "", 2*time.Second)
		asked := w.questions()
		if len(asked) != 2 || !slices.Equal(asked[1].failed, []string{"a"}) {
			t.Errorf("asked %+v, want a second call that names a", asked)
		}
	})
}

// A request that leaves before its call is answered has its list reused by the next.
func TestWait_CallOutlivesTheRequestsList(t *testing.T) {
	answer := func(w *world, q question) error {
		sleep(q.ctx, time.Second)
		return nil // what was named is still ready, as the daemon sees it
	}
	inBubble(t, answer, func(t *testing.T, w *world) {
		w.publish("a")
		list := []string{"a"}
		first := w.wait(t.Context(), list...)
		synctest.Wait()
		w.publish("b")
		(<-first).want(t, "", 0)
		list[0] = "b"
		(<-w.wait(t.Context(), list...)).want(t, "", 2*time.Second)
		asked := w.questions()
		if len(asked) != 2 || !slices.Equal(asked[0].failed, []string{"a"}) || !slices.Equal(asked[1].failed, []string{"b"}) {
			t.Errorf("asked %+v, want of a, then of b", asked)
		}
	})
}

func TestWait_RemovedAppIsNoRouteAtOnce(t *testing.T) {
	inBubble(t, ready(time.Minute), func(t *testing.T, w *world) {
		out := w.wait(t.Context())
		time.Sleep(time.Second)
		w.registry.Remove("app", 1)
		(<-out).want(t, "no-route", time.Second)
	})
}

func TestWait_DaemonIsAskedOnlyOnceItIsSynced(t *testing.T) {
	inBubble(t, ready(time.Second), func(t *testing.T, w *world) {
		w.disconnect()
		out := w.wait(t.Context())
		time.Sleep(9 * time.Second)
		if n := len(w.questions()); n != 0 {
			t.Fatalf("%d calls to a daemon that is not synced", n)
		}
		w.connect()
		(<-out).want(t, "", 10*time.Second)
	})
}

func TestWait_ReturnedDaemonHasItsWholeTimeForTheStart(t *testing.T) {
	inBubble(t, ready(30*time.Second), func(t *testing.T, w *world) {
		w.disconnect()
		out := w.wait(t.Context())
		time.Sleep(9 * time.Second)
		w.connect()
		(<-out).want(t, "", 39*time.Second)
	})
}

func TestWait_NoDaemonForTenSeconds(t *testing.T) {
	inBubble(t, ready(time.Second), func(t *testing.T, w *world) {
		w.disconnect()
		first := w.wait(t.Context())
		time.Sleep(4 * time.Second)
		second := w.wait(t.Context())
		(<-first).want(t, "daemon-unreachable", 10*time.Second)
		(<-second).want(t, "daemon-unreachable", 10*time.Second) // each has its own

		w.connect() // nobody waits: nothing may be started
		time.Sleep(time.Minute)
		if n := len(w.questions()); n != 0 {
			t.Errorf("%d calls after the last request had left", n)
		}
		(<-w.wait(t.Context())).want(t, "", time.Second)
	})
}

func TestWait_CallThatBreaksIsRepeated(t *testing.T) {
	answer := func(w *world, q question) error {
		if q.n == 1 {
			sleep(q.ctx, 3*time.Second)
			w.disconnect()
			return errors.New("connection lost")
		}
		sleep(q.ctx, time.Second)
		w.publish("i")
		return nil
	}
	inBubble(t, answer, func(t *testing.T, w *world) {
		out := w.wait(t.Context())
		time.Sleep(8 * time.Second)
		w.connect()
		(<-out).want(t, "", 9*time.Second)
	})
}

func TestWait_DaemonThatOnlyFailsIsUnreachable(t *testing.T) {
	answer := func(*world, question) error { return errors.New("internal") }
	inBubble(t, answer, func(t *testing.T, w *world) {
		(<-w.wait(t.Context())).want(t, "daemon-unreachable", 10*time.Second)
		if n := len(w.questions()); n < 10 || n > 40 {
			t.Errorf("%d calls in 10 s, want it repeated with a pause", n)
		}
		time.Sleep(time.Minute)
		if n := len(w.questions()); n > 40 {
			t.Errorf("%d calls: they go on with nobody waiting", n)
		}
	})
}

func TestRun_EndSendsEverybodyAway(t *testing.T) {
	inBubble(t, ready(time.Hour), func(t *testing.T, w *world) {
		out := w.wait(t.Context())
		time.Sleep(time.Second)
		w.stop()
		(<-out).want(t, "shutting-down", time.Second)
		(<-w.wait(t.Context())).want(t, "shutting-down", 0)
	})
}

func TestActivator_ForgetsWhatSaysNothing(t *testing.T) {
	answer := func(w *world, q question) error {
		return &Failure{Code: "start-failed", RetryAt: time.Now().Add(time.Second)}
	}
	inBubble(t, answer, func(t *testing.T, w *world) {
		(<-w.wait(t.Context())).want(t, "start-failed", 0)
		w.registry.Apply(backend.Set{App: "other", Epoch: 1, Revision: 1, Policy: policy})
		time.Sleep(time.Second)
		_ = w.Wait(t.Context(), w.registry.Get("other"), nil)
		if n := len(w.apps); n != 1 {
			t.Errorf("%d entries, want only the other app's", n)
		}
	})
}

func TestWait_OfflineIsToldOnceThePageIsThere(t *testing.T) {
	refused := Failure{Code: "offline", Epoch: 1, Revision: 1}
	inBubble(t, refuse(time.Second, refused), func(t *testing.T, w *world) {
		out := w.wait(t.Context())
		time.Sleep(time.Second + pageTime/4)
		w.publish() // not the set that takes it offline
		time.Sleep(pageTime / 4)
		w.revision++
		w.registry.Apply(backend.Set{App: "app", Epoch: 1, Revision: w.revision, Policy: policy, Offline: &backend.Offline{}})
		(<-out).want(t, "offline", time.Second+pageTime/2)
	})
	inBubble(t, refuse(time.Second, refused), func(t *testing.T, w *world) {
		(<-w.wait(t.Context())).want(t, "offline", time.Second+pageTime) // and there is none
	})
}

func TestWait_OfflineEndsIt(t *testing.T) {
	inBubble(t, ready(time.Hour), func(t *testing.T, w *world) {
		out := w.wait(t.Context())
		time.Sleep(time.Second)
		w.revision++
		w.registry.Apply(backend.Set{App: "app", Epoch: 1, Revision: w.revision, Policy: policy, Offline: &backend.Offline{}})
		(<-out).want(t, "offline", time.Second)
		(<-w.wait(t.Context())).want(t, "offline", 0)
	})
}
