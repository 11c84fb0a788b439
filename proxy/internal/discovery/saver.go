package discovery

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
)

// saveDelay is how long changes gather after some were written.
const saveDelay = 250 * time.Millisecond

// saver keeps the copy on disk.
type saver struct {
	state *State
	view  *view
	log   hclog.Logger
	dirty chan struct{} // holds one: there is something to save
}

func newSaver(s *State, v *view, log hclog.Logger) *saver {
	return &saver{state: s, view: v, log: log, dirty: make(chan struct{}, 1)}
}

// changed says that there is something to save. It never blocks.
func (s *saver) changed() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// run saves what has changed, at once after a pause, and what is left when ctx ends.
func (s *saver) run(ctx context.Context) error {
	for {
		select {
		case <-s.dirty:
			s.save()
		case <-ctx.Done():
			select {
			case <-s.dirty:
				s.save()
			default:
			}
			return nil
		}
		sleep(ctx, saveDelay)
	}
}

func (s *saver) save() {
	if err := s.state.save(s.view.export()); err != nil {
		s.log.Warn("snapshot not saved, a proxy that starts without a daemon will not know of the last changes",
			"path", s.state.snapshotPath(), "error", err)
	}
}
