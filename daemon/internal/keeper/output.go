package keeper

import (
	"cmp"
	"sync"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// output is how it stands with what an instance writes. The pumps change it, and do
// not wait for the record.
type output struct {
	changed chan struct{} // one slot

	mu      sync.Mutex
	streams map[string]pump.State
	before  *keeperv1.Output // what earlier keepers have dropped
	resumed int              // pumps that go on with a stream: each tells of itself
	missing bool
}

func newOutput() output {
	return output{changed: make(chan struct{}, 1), streams: map[string]pump.State{}}
}

// noteOutput takes a pump's state over. It never blocks.
func (i *instance) noteOutput(stream string, now pump.State) {
	o := &i.output
	o.mu.Lock()
	o.streams[stream] = now
	o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// takeUp goes on where an earlier keeper's record ends. missing says that the pipes
// were gone with what was in them.
func (o *output) takeUp(before *keeperv1.Output, pumps int, missing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.before, o.resumed, o.missing = before, pumps, missing || before.GetMissing()
}

// message is nil where all is well.
func (o *output) message() *keeperv1.Output {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := &keeperv1.Output{
		DroppedBytes: o.before.GetDroppedBytes(), DroppedLines: o.before.GetDroppedLines(), Missing: o.missing,
	}
	for _, stream := range streams {
		now := o.streams[stream]
		m.DroppedBytes += now.Bytes
		m.DroppedLines += now.Lines
		m.Waits = m.Waits || now.Waits
		m.Fault = cmp.Or(m.Fault, now.Fault)
	}
	if len(o.streams) < o.resumed { // nobody can tell yet
		m.Fault, m.Waits = o.before.GetFault(), o.before.GetWaits()
	}
	if m.Fault == "" && m.DroppedBytes == 0 && !m.Missing {
		return nil
	}
	return m
}
