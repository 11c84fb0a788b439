package trim

import (
	"context"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTrimmer_IsDueOnceAfterABurst(t *testing.T) {
	const mib = 1 << 20
	var tr trimmer
	total := uint64(0)
	for i, step := range []struct {
		allocates uint64
		due       bool
	}{
		{100 * mib, false}, // it works
		{5 * mib, false},
		{mib, true}, // it rests
		{mib, false},
		{6 * mib, false}, // too little to be worth it, with what came before
		{mib / 2, false},
		{mib / 2, true}, // by and by it is
		{0, false},
	} {
		total += step.allocates
		if got := tr.due(total); got != step.due {
			t.Fatalf("step %d: due %v, want %v", i, got, step.due)
		} else if got {
			tr.done(total)
		}
	}
}

func TestRun_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*every)
		defer cancel()
		if err := Run(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

// hold keeps what it is given alive, as the compiler sees it.
var hold [][]byte

func TestAllocated_Grows(t *testing.T) {
	before := allocated()
	for range 100 {
		hold = append(hold, make([]byte, 64<<10))
	}
	hold = nil
	if got := allocated() - before; got < 100*64<<10 {
		t.Fatalf("%d bytes allocated, as it seems", got)
	}
}
