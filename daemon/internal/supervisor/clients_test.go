package supervisor

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// Writes of many clients at once are taken one after the other, and whatever they
// were, the app comes to rest.
func TestWrites_OfManyClientsAtOnceConverge(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web", version("0")))
		var clients sync.WaitGroup
		for n := range 20 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(n)))
				for range 10 {
					time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
					var err error
					switch random.IntN(6) {
					case 0:
						_, _, err = r.Start(ctx, "web", "")
					case 1:
						_, _, err = r.Stop(ctx, "web", "")
					case 2:
						_, _, err = r.Recycle(ctx, "web", "")
					case 3:
						_, _, err = r.Scale(ctx, "web", 1, "")
					case 4:
						_, err = r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("web", version(number(int64(random.IntN(3)))))}})
					case 5:
						if _, f := r.activate("web"); f != nil {
							err = f
						}
					}
					if k := app.KindOf(err); err != nil && k != app.WrongState {
						t.Errorf("%v", err)
					}
					live := 0
					for _, i := range r.Instances().All() {
						if i.Phase < app.PhaseDraining {
							live++
						}
					}
					if live > 2 {
						t.Errorf("%d instances are live, 1 is wanted", live)
					}
				}
			})
		}
		clients.Wait()
		_, id, err := r.Start(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.until("it has come to rest", func() bool { return r.rollout(id).Phase.Done() })
		r.pass(time.Minute)
		p := r.wantAlive(1)[0]
		if a := r.app("web"); a.State != app.StateRunning || a.Desired != a.Serving || p.launch.Spec.Release != desiredOf(a.Stored).Spec.Release {
			t.Fatalf("it runs %s: %+v", p.launch.Spec.Release, a)
		}
		for id, roll := range r.Rollouts().All() {
			if !roll.Phase.Done() {
				t.Errorf("rollout %s never ends", id)
			}
		}
	})
}
