package keeper

import (
	"slices"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

// BenchmarkLaunch is from the daemon's call until it knows that the program runs.
func BenchmarkLaunch(b *testing.B) {
	for _, lane := range []string{tree.LaneV2, tree.LaneFreezer, tree.LaneScan} {
		b.Run(lane, func(b *testing.B) {
			l0, err := tree.Detect(b.TempDir(), lane)
			if err != nil {
				b.Skip(err)
			}
			l0.Close()
			f := newFixture(b, lane)
			l := f.spec("")
			l.Spec.Command = []string{"/bin/true"}
			var took []time.Duration
			for b.Loop() {
				l.ID = f.spec("").ID
				begun := time.Now()
				p := f.launch(l)
				took = append(took, time.Since(begun))
				f.wait(p.Gone())
				p.Forget(b.Context())
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "launch-median-µs")
			b.ReportMetric(float64(took[0].Microseconds()), "launch-best-µs")
		})
	}
}
