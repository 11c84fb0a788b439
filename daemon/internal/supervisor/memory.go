package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// measureAgain is the pause between two looks at an app's memory.
const measureAgain = 5 * time.Second

// sampling is the state of measuring an app's memory, for recycle.max_memory.
type sampling struct {
	busy    bool
	next    time.Time
	refused bool // that it cannot be measured has been logged
}

// lookForMemory measures the instances' memory where recycle.max_memory is given,
// and returns when to do it again.
func (c *controller) lookForMemory(now time.Time) time.Time {
	limit := c.serving().Spec.Recycle.MaxMemory
	if limit <= 0 || c.sampling.busy {
		return time.Time{}
	}
	processes := map[app.InstanceID]app.Process{}
	for _, m := range c.members {
		if m.mayRecycle() && m.process != nil {
			processes[m.ID] = m.process
		}
	}
	switch {
	case len(processes) == 0:
		return time.Time{}
	case now.Before(c.sampling.next):
		return c.sampling.next
	}
	c.sampling.busy = true
	c.errand(func(ctx context.Context) event {
		e := measured{bytes: map[app.InstanceID]int64{}}
		ctx, cancel := context.WithTimeout(ctx, keeperPatience)
		defer cancel()
		for id, p := range processes {
			n, err := p.Memory(ctx, limit)
			if err != nil {
				e.err = err
				continue
			}
			e.bytes[id] = n
		}
		return e
	})
	return time.Time{}
}

// measured says how much memory instances use.
type measured struct {
	bytes map[app.InstanceID]int64
	err   error // of some that could not be measured
}

func (e measured) on(c *controller) {
	c.sampling.busy, c.sampling.next = false, time.Now().Add(measureAgain)
	if e.err != nil && !c.sampling.refused {
		c.sampling.refused = true
		c.log.Warn("memory not measured: recycle.max_memory does nothing until that works", "error", e.err)
	}
	if e.err == nil {
		c.sampling.refused = false
	}
	limit := c.serving().Spec.Recycle.MaxMemory
	for id, n := range e.bytes {
		m := c.member(id)
		if limit <= 0 || n <= limit || m == nil || !m.mayRecycle() {
			continue
		}
		c.recycleOne(m, app.Warning, cause{
			trigger: "recycle.max_memory", limit: number(limit), measured: number(n),
			message: fmt.Sprintf("its processes use %s of memory (recycle.max_memory: %s)", mebibytes(n), mebibytes(limit)),
		})
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
