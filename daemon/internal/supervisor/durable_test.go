package supervisor

import (
	"errors"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

var errFull = errors.New("no space left on device")

func TestCommit_OfAnOvertakenRolloutIsNotWritten(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.apply(spec("web", version("2")))
		r.pass(2500 * time.Millisecond)
		r.disk.fail(errFull) // the second one settles, and cannot be written down
		r.pass(900 * time.Millisecond)
		r.disk.fail(nil)
		r.bad("3", script{boot: time.Minute})
		r.apply(spec("web", version("3")))
		r.pass(10 * time.Second) // what tried to write the second one has tried again
		if a := r.disk.get("web"); a.Serving != 1 || a.Desired != 3 {
			t.Fatalf("%d serves, %d is desired, and 3 was never ready", a.Serving, a.Desired)
		}
	})
}

func TestCommit_CrashWhileItIsWrittenIsNoRollback(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		id := r.apply(spec("web", version("2")))[0].Rollout
		r.pass(2500 * time.Millisecond)
		r.disk.fail(errFull)
		r.pass(5 * time.Second)
		for _, p := range r.alive() {
			if p.launch.Generation == 2 {
				p.fallSick(errFull) // so that it is not ready when it ends
				r.Failure("web", p.launch.ID, "reset", "")
				r.pass(time.Millisecond)
				p.crash()
			}
		}
		r.pass(time.Second)
		r.disk.fail(nil)
		r.ends(id, app.RolloutComplete)
		if a := r.app("web"); a.Serving != 2 || len(a.Conditions) != 0 {
			t.Fatalf("app %+v", a)
		}
	})
}

func TestCommit_SurvivesADeathOfTheDaemonBeforeIt(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		id := r.apply(spec("web", version("2")))[0].Rollout
		r.pass(2500 * time.Millisecond)
		r.disk.fail(errFull)
		r.pass(10 * time.Second)
		r.die(func() {
			r.disk.fail(nil)
			for _, p := range r.host.alive() {
				if p.launch.Generation == 2 {
					p.crash() // it was ready for long enough: no reason to roll back
				}
			}
		})
		r.ends(id, app.RolloutComplete)
		if a := r.app("web"); a.Serving != 2 || a.Failed != nil {
			t.Fatalf("app %+v", a.Stored)
		}
	})
}
