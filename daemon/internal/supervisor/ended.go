package supervisor

import (
	"context"
	"slices"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/failpoint"
)

// endedInstance is one that is shown though nothing of it is left. The keeper
// keeps its record as long, for the next daemon to show it too.
type endedInstance struct {
	id      app.InstanceID
	process app.Process // nil where it was never launched
}

// bury moves a member whose processes are gone to the ended ones.
func (c *controller) bury(m *member) {
	c.members = slices.DeleteFunc(c.members, func(o *member) bool { return o == m })
	m.Phase = app.PhaseExited
	if m.process != nil {
		m.Output = m.process.Info().Output // all that was lost is known by now
	}
	c.noteBlocked()
	c.instances.Set(m.ID, m.Instance)
	c.cfg.Publisher.Ended(m.ID)
	c.keepEnded(endedInstance{m.ID, m.process})
}

// keepEnded keeps the last ended instances; older ones are forgotten.
func (c *controller) keepEnded(e endedInstance) {
	c.ended = append(c.ended, e)
	for len(c.ended) > keptEnded {
		c.forget(c.ended[0])
		c.ended = c.ended[1:]
	}
}

// forget drops an ended instance, at the keeper too.
func (c *controller) forget(e endedInstance) {
	c.instances.Delete(e.id)
	c.errand(func(ctx context.Context) event {
		c.forgetRecord(ctx, e)
		return nil
	})
}

func (c *controller) forgetRecord(ctx context.Context, e endedInstance) {
	if e.process == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keeperPatience)
	defer cancel()
	if err := e.process.Forget(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("record not forgotten", "instance", string(e.id), "error", err)
	}
}

// depart ends what waits for the last instance: a shutdown, or a removal.
func (c *controller) depart() {
	if len(c.members) > 0 {
		return
	}
	if c.stopping && !closed(c.empty) {
		close(c.empty)
	}
	if !c.removed || c.finishing {
		return
	}
	c.finishing = true
	ended, past := c.ended, slices.Clone(c.past)
	c.ended = nil
	c.errand(func(ctx context.Context) event {
		for _, e := range ended {
			c.instances.Delete(e.id)
			failpoint.Here(failpoint.Forget)
			c.forgetRecord(ctx, e)
		}
		failpoint.Here(failpoint.Finish)
		c.shared.finish(ctx, c, past)
		return nil
	})
}
