package supervisor

import (
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

// history makes an app whose generations 1 to n have served one after the other.
func history(n int64) app.Stored {
	a := app.Stored{Name: "web"}
	for i := int64(1); i <= n; i++ {
		a = serveDesired(accept(a, app.Generation{Number: i, Spec: spec("web", version(number(i))).WithDefaults()}))
	}
	return a
}

func outcomes(a app.Stored) map[int64]app.RolloutPhase {
	m := map[int64]app.RolloutPhase{}
	for _, g := range a.Generations {
		m[g.Number] = g.Outcome
	}
	return m
}

func TestGenerations_ServingMovesAndWhatServedBeforeIsKept(t *testing.T) {
	a := history(3)
	if a.Serving != 3 || a.Desired != 3 || a.PrevServing != 2 {
		t.Fatalf("%+v", a)
	}
	// A return to the same is no step in the history of what served.
	again := servingOf(a)
	again.Number = 4
	if b := serveDesired(accept(a, again)); b.Serving != 4 || b.PrevServing != 2 {
		t.Errorf("serving %d, before it %d", b.Serving, b.PrevServing)
	}
}

func TestGenerations_OutcomesTellWhatBecameOfEach(t *testing.T) {
	a := history(1)
	a = failDesired(accept(a, app.Generation{Number: 2}), app.FailedRollout{Generation: 2})
	if a.Serving != 1 || a.Failed == nil {
		t.Fatalf("%+v", a)
	}
	a = accept(a, app.Generation{Number: 3})
	a = accept(a, app.Generation{Number: 4})
	want := map[int64]app.RolloutPhase{
		1: app.RolloutComplete, 2: app.RolloutFailed, 3: app.RolloutSuperseded, 4: app.RolloutProgressing,
	}
	for n, w := range want {
		if got := outcomes(a)[n]; got != w {
			t.Errorf("generation %d: %d, want %d", n, got, w)
		}
	}
	if a.Failed != nil {
		t.Error("a new generation does not clear the failure")
	}
	// A failed recycle does not make the generation one that never served.
	a = failDesired(serveDesired(a), app.FailedRollout{Generation: 4})
	if got := outcomes(a)[4]; got != app.RolloutComplete {
		t.Errorf("after a failed recycle: %d", got)
	}
}

func TestGenerations_TrimKeepsWhatIsReferredTo(t *testing.T) {
	a := history(2)
	for n := int64(3); n <= 40; n++ { // none of them ever serves
		a = failDesired(accept(a, app.Generation{Number: n}), app.FailedRollout{Generation: n})
	}
	if len(a.Generations) != keptGenerations || a.Generations[0].Number != 1 || a.Generations[1].Number != 2 {
		t.Fatalf("%d kept, from %d", len(a.Generations), a.Generations[0].Number)
	}
	if _, ok := generation(a, a.Serving); !ok {
		t.Fatal("the serving one is gone")
	}
}

func TestGenerations_ChangesLeaveTheOriginalAlone(t *testing.T) {
	a := history(2)
	before := outcomes(a)
	_ = withInstances(a, 7)
	_ = retry(accept(a, app.Generation{Number: 3}))
	_ = superseded(accept(a, app.Generation{Number: 3}))
	if len(a.Generations) != 2 || a.Desired != 2 || *servingOf(a).Spec.Instances != 1 || outcomes(a)[2] != before[2] {
		t.Fatalf("%+v", a)
	}
}

func TestRollbackTarget_IsServingElseWhatServedBefore(t *testing.T) {
	a := history(3)
	failed := failDesired(accept(a, app.Generation{Number: 4}), app.FailedRollout{Generation: 4})
	tests := map[string]struct {
		a    app.Stored
		to   int64
		want int64 // 0: none
	}{
		"desired serves":        {a, 0, 2},
		"desired does not":      {failed, 0, 3},
		"by number":             {a, 1, 1},
		"unknown":               {a, 9, 0},
		"nothing served before": {history(1), 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := rollbackTarget(tt.a, tt.to)
			if g.Number != tt.want || (err == nil) != (tt.want != 0) || err != nil && app.KindOf(err) != app.NotFound {
				t.Errorf("got %d, %v", g.Number, err)
			}
		})
	}
}
