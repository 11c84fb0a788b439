package supervisor

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// commitAgain is how long to wait before a write that failed is tried again.
const commitAgain = time.Second

// commitRollout writes down what became of a rollout, unless a newer write has
// overtaken it. It tries until that works: the rollout does not go on before.
func (s *Supervisor) commitRollout(ctx context.Context, name, rollout string, change func(app.Stored) app.Stored) (versioned, bool) {
	for {
		v, err := ask(ctx, s, func() (*versioned, error) {
			e := s.entries[name]
			if e == nil || e.removed || e.rollout != rollout {
				return nil, nil
			}
			if err := s.store([]app.Stored{change(e.Stored)}, nil); err != nil {
				s.cfg.Log.Error("state not written", "app", name, "error", err)
				return nil, err
			}
			return new(e.versioned), nil // a copy: the entry is this goroutine's
		})
		switch {
		case err == nil && v != nil:
			return *v, true
		case err == nil || ctx.Err() != nil:
			return versioned{}, false
		}
		if !s.pauseToCommit(ctx) {
			return versioned{}, false
		}
	}
}

// pauseToCommit waits before a write is tried again; false where all ends.
func (s *Supervisor) pauseToCommit(ctx context.Context) bool {
	t := time.NewTimer(commitAgain)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.done:
	case <-ctx.Done():
	}
	return ctx.Err() == nil && !closed(s.done)
}

// finishRemoval forgets an app whose last instance has ended, unless it was
// applied again meanwhile. rollouts are the app's.
func (s *Supervisor) finishRemoval(ctx context.Context, c *controller, rollouts []string) {
	_, _ = ask(ctx, s, func() (struct{}, error) { // it fails only when all ends
		e := s.entries[c.name]
		if e == nil || !e.removed || e.ctl != c {
			return struct{}{}, nil
		}
		delete(s.entries, c.name)
		s.farewell(rollouts)
		s.mu.Lock()
		delete(s.controllers, c.name)
		s.mu.Unlock()
		// Whoever applies the app anew publishes it after this one has taken it out.
		last := removed{make(chan struct{})}
		if c.post(last) {
			<-last.done
		}
		return struct{}{}, nil
	})
}

const (
	// keptFarewells is how many rollouts of removed apps can be watched: whoever
	// removes many apps at once looks at one after the other.
	keptFarewells = 1000
	// keptOfRemoved is how many of one app these are, so that apps with a long past
	// leave room: its removal, and what that superseded.
	keptOfRemoved = 2
)

// farewell keeps the rollouts of a removed app to be watched for a while.
func (s *Supervisor) farewell(rollouts []string) {
	last := max(0, len(rollouts)-keptOfRemoved)
	for _, id := range rollouts[:last] {
		s.rollouts.Delete(id)
	}
	s.farewells = append(s.farewells, rollouts[last:]...)
	for len(s.farewells) > keptFarewells {
		s.rollouts.Delete(s.farewells[0])
		s.farewells = s.farewells[1:]
	}
}

// removed is the last event of a controller: its app is forgotten.
type removed struct{ done chan struct{} }

func (e removed) on(c *controller) {
	c.cfg.Publisher.Remove(c.name)
	c.cancel()
	close(e.done)
}
