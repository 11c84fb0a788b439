package supervisor

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// Output tells how it stands with what an instance writes.
func (s *Supervisor) Output(name string, id app.InstanceID, o app.Output) {
	s.postTo(name, outputChanged{id, o})
}

type outputChanged struct {
	id     app.InstanceID
	output app.Output
}

func (e outputChanged) on(c *controller) {
	if m := c.member(e.id); m != nil {
		m.Output = e.output
	}
	c.noteBlocked()
}

// blockedMessage is empty where no instance waits to write.
func (c *controller) blockedMessage() string {
	for _, m := range c.members {
		if m.Output.Waits {
			return "what instance " + string(m.ID) + " writes waits, and the instance with it once its pipe is full (logs.when_full: block): " +
				m.Output.Fault + ": raise the limit, delete output that is not needed any more, free the disk, or apply when_full: drop-oldest"
		}
	}
	return ""
}

// noteBlocked has the condition OutputBlocked say whether an instance waits.
func (c *controller) noteBlocked() {
	if message := c.blockedMessage(); message != "" {
		c.noteCondition(app.CondOutputBlocked, message, false)
	} else {
		c.dropCondition(app.CondOutputBlocked)
	}
}

// adoptBlocked is noteBlocked for what an earlier daemon has told.
func (c *controller) adoptBlocked() {
	if message := c.blockedMessage(); message != "" {
		known := app.Condition{Type: app.CondOutputBlocked, Message: message, Time: time.Now()}
		c.conditions[known.Type] = condition{known, false}
	}
}

// unblock has a process that is to end not wait for room for its output.
func (i *instance) unblock(ctx context.Context, p app.Process) {
	ctx, cancel := context.WithTimeout(ctx, keeperPatience)
	defer cancel()
	if err := p.Unblock(ctx); err != nil && ctx.Err() == nil {
		i.log.Warn("output not unblocked", "error", err)
	}
}
