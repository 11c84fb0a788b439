package activator

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens in whatever order: one call at a time, nobody waits for longer
// than its policy allows, nobody is lost, and nothing is left when all have gone.
func TestActivator_AnyOrderOfEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{
			"wait", "wait", "wait failed", "wait and leave", "publish", "publish ready", "connect", "disconnect", "pass", "pass long",
		}), 1, 60).Draw(rt, "steps")
		answers := rapid.SliceOfN(rapid.SampledFrom([]string{"ready", "nothing", "refused", "lost"}), 1, 8).Draw(rt, "answers")
		takes := rapid.SliceOfN(rapid.Int64Range(0, int64(20*time.Second)), 1, 8).Draw(rt, "takes")

		var open, most atomic.Int32
		answer := func(w *world, q question) error {
			most.Store(max(most.Load(), open.Add(1)))
			defer open.Add(-1)
			if !sleep(q.ctx, time.Duration(takes[q.n%len(takes)])) {
				return q.ctx.Err()
			}
			switch answers[q.n%len(answers)] {
			case "ready":
				w.publish("i")
			case "refused":
				return &Failure{Code: "start-failed", RetryAt: time.Now().Add(time.Second)}
			case "lost":
				return errors.New("lost")
			}
			return nil
		}
		inBubble(t, answer, func(t *testing.T, w *world) {
			outs, connected := play(t, w, steps)
			if !connected {
				w.connect()
			}
			for _, out := range outs {
				o := <-out
				if o.after > policy.QueueTimeout+sameMoment {
					t.Errorf("waited %v", o.after)
				}
				checkOutcome(t, o.err)
			}
			synctest.Wait()
			if n := w.pool().Load().Queued; n != 0 {
				t.Errorf("%d queued when all have gone", n)
			}
			if most.Load() > 1 {
				t.Errorf("%d calls at a time", most.Load())
			}
		})
	})
}

// play makes steps happen and returns the outcomes to come.
func play(t *testing.T, w *world, steps []string) (outs []<-chan outcome, connected bool) {
	t.Helper()
	connected = true
	for _, s := range steps {
		switch s {
		case "wait":
			outs = append(outs, w.wait(t.Context()))
		case "wait failed":
			outs = append(outs, w.wait(t.Context(), "i"))
		case "wait and leave":
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			outs = append(outs, w.wait(ctx))
		case "publish":
			w.publish()
		case "publish ready":
			w.publish("i")
		case "connect":
			if !connected {
				w.connect()
			}
			connected = true
		case "disconnect":
			if connected {
				w.disconnect()
			}
			connected = false
		case "pass":
			time.Sleep(100 * time.Millisecond)
		case "pass long":
			time.Sleep(8 * time.Second)
		}
	}
	time.Sleep(3 * time.Second) // those that leave have left
	return outs, connected
}

func checkOutcome(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	codes := []string{"start-failed", "backend-lost", "daemon-unreachable", "queue-timeout"}
	if f, ok := errors.AsType[*Failure](err); !ok || !slices.Contains(codes, f.Code) {
		t.Errorf("unexpected outcome %v", err)
	}
}
