// Package trim gives back what a burst of work leaves behind.
package trim

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// every is how often the program is looked at.
	every = 15 * time.Second
	// quiet is how many bytes a program may allocate between two looks that rests,
	// and burst how many it has allocated that is worth a collection.
	quiet, burst = 1 << 20, 8 << 20
)

// Run gives memory back whenever the program rests after a burst, until ctx ends.
// Go keeps what its heap and its stacks have grown to until a collection finds them
// unused. A daemon that has applied a thousand apps and then does nothing is not
// collected before two minutes are over, several times until its stacks have shrunk,
// and keeps a good part of the heap even then: it would hold twice what it needs.
func Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var t trimmer
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if t.due(allocated()) {
				runtime.GC() // a stack is halved by each collection at most
				debug.FreeOSMemory()
				t.done(allocated())
			}
		}
	}
}

// allocated is how many bytes the program has allocated since it began.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// trimmer tells when memory is to be given back, from how much was allocated so far.
type trimmer struct {
	seen    uint64 // at the last look
	trimmed uint64 // when memory was given back last
}

func (t *trimmer) due(allocated uint64) bool {
	rests := allocated-t.seen <= quiet
	t.seen = allocated
	return rests && allocated-t.trimmed >= burst
}

func (t *trimmer) done(allocated uint64) { t.seen, t.trimmed = allocated, allocated }
