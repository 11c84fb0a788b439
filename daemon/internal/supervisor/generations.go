package supervisor

import (
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// keptGenerations is how many generations of an app are kept.
const keptGenerations = 20

// generation returns an app's generation by number.
func generation(a app.Stored, number int64) (app.Generation, bool) {
	i := slices.IndexFunc(a.Generations, func(g app.Generation) bool { return g.Number == number })
	if i < 0 {
		return app.Generation{}, false
	}
	return a.Generations[i], true
}

// desiredOf returns the desired generation, which an app always has.
func desiredOf(a app.Stored) app.Generation {
	g, _ := generation(a, a.Desired)
	return g
}

// servingOf returns the serving generation, which an app always has.
func servingOf(a app.Stored) app.Generation {
	g, _ := generation(a, a.Serving)
	return g
}

// replaces tells whether an instance of one generation must be replaced by a new
// one to be of another.
func replaces(from, to app.Generation) bool {
	return from.ResolvedDir != to.ResolvedDir || app.Replaces(from.Spec, to.Spec)
}

// accept returns a with one more generation, the desired one. The history of a
// is not changed.
func accept(a app.Stored, g app.Generation) app.Stored {
	a.Generations = slices.Clone(a.Generations)
	setOutcome(&a, a.Desired, app.RolloutSuperseded)
	g.Outcome = app.RolloutProgressing
	a.Generations = append(a.Generations, g)
	a.Desired = g.Number
	a.Failed = nil
	return a
}

// superseded returns a with the rollout of its desired generation overtaken.
func superseded(a app.Stored) app.Stored {
	a.Generations = slices.Clone(a.Generations)
	setOutcome(&a, a.Desired, app.RolloutSuperseded)
	return a
}

// retry returns a ready to try its desired generation again.
func retry(a app.Stored) app.Stored {
	a.Generations = slices.Clone(a.Generations)
	a.Failed = nil
	setOutcome(&a, a.Desired, app.RolloutProgressing)
	return a
}

// serveDesired returns a with its desired generation serving.
func serveDesired(a app.Stored) app.Stored {
	a.Generations = slices.Clone(a.Generations)
	before, had := generation(a, a.Serving)
	after := desiredOf(a)
	if had && before.Number != after.Number && !sameGeneration(before, after) {
		a.PrevServing = before.Number
	}
	a.Serving = a.Desired
	a.Failed = nil
	setOutcome(&a, a.Desired, app.RolloutComplete)
	return trim(a)
}

// failDesired returns a with its last rollout failed; what served still does.
func failDesired(a app.Stored, f app.FailedRollout) app.Stored {
	a.Generations = slices.Clone(a.Generations)
	a.Failed = &f
	setOutcome(&a, f.Generation, app.RolloutFailed)
	return trim(a)
}

// setOutcome notes how the rollout of a generation ended. One that has served is
// complete, whatever becomes of a later recycle, and one that failed is not
// superseded any more.
func setOutcome(a *app.Stored, number int64, outcome app.RolloutPhase) {
	for i, g := range a.Generations {
		if g.Number != number || g.Outcome == app.RolloutComplete || outcome == app.RolloutSuperseded && g.Outcome.Done() {
			continue
		}
		a.Generations[i].Outcome = outcome
	}
}

func sameGeneration(a, b app.Generation) bool {
	return a.ResolvedDir == b.ResolvedDir && len(app.ChangedPaths(a.Spec, b.Spec)) == 0
}

// trim drops the oldest generations beyond the kept ones, but none that an app
// still refers to.
func trim(a app.Stored) app.Stored {
	for i := 0; len(a.Generations) > keptGenerations && i < len(a.Generations); {
		switch a.Generations[i].Number {
		case a.Desired, a.Serving, a.PrevServing:
			i++
		default:
			a.Generations = slices.Delete(a.Generations, i, i+1)
		}
	}
	return a
}

// withInstances returns a with the number of instances set in the generation it
// serves and in the one it desires.
func withInstances(a app.Stored, n int) app.Stored {
	a.Generations = slices.Clone(a.Generations)
	for i, g := range a.Generations {
		if g.Number == a.Serving || g.Number == a.Desired {
			a.Generations[i].Spec.Instances = &n
		}
	}
	return a
}

// nextGeneration makes the generation that a write brings.
func (s *Supervisor) nextGeneration(name, dir, actor string, spec app.Spec) (app.Generation, error) {
	number, err := s.cfg.Store.NextGeneration(name)
	if err != nil {
		return app.Generation{}, err
	}
	return app.Generation{Number: number, Spec: spec, ResolvedDir: dir, Time: time.Now(), Actor: actor}, nil
}
