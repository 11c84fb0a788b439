package supervisor

import (
	"errors"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// One that fails every other look must not fill the event log, nor take up the daemon.
func TestUnready_OneThatFlapsIsToldOfNowAndThen(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Second, flaps: true})
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		for range 6000 { // requests fail at it all the time, for a minute
			r.Failure("web", p.launch.ID, "refused", "")
			r.pass(10 * time.Millisecond)
		}
		if n := r.recorder.count(app.EventInstanceUnready); n < 5 || n > 7 {
			t.Errorf("%d events in a minute say that it is unready", n)
		}
		if n := r.recorder.count(app.EventInstanceReady); n < 6 || n > 8 {
			t.Errorf("%d events in a minute say that it is ready", n)
		}
		r.host.mu.Lock()
		checks := r.host.checks
		r.host.mu.Unlock()
		if checks > 200 {
			t.Errorf("it is asked %d times in a minute", checks)
		}
		p.fallSick(errors.New("hangs")) // for good
		r.pass(15 * time.Second)
		r.Failure("web", p.launch.ID, "refused", "")
		r.pass(15 * time.Second)
		unready, ready := r.recorder.last(app.EventInstanceUnready), r.recorder.last(app.EventInstanceReady)
		if r.wantState("web", app.StateDegraded); unready.Time.Before(ready.Time) {
			t.Errorf("it stays unready, and nobody is told: %q", unready.Message)
		}
	})
}
