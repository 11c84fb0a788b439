package supervisor

import (
	"context"
	"reflect"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// limitAgain is how long to wait before a launcher that could not be told is told
// again.
const limitAgain = time.Second

// limitLogs puts a change of logs.max_size or max_files into effect, which needs no
// new instance. Each launch says it itself; so does a daemon that finds instances.
func (c *controller) limitLogs() {
	l := c.serving().Spec.Logs
	if len(c.members) == 0 || reflect.DeepEqual(l, c.limited) {
		return
	}
	c.limited = l
	c.errand(func(ctx context.Context) event {
		ctx, cancel := context.WithTimeout(ctx, keeperPatience)
		defer cancel()
		if err := c.cfg.Launcher.LimitLogs(ctx, c.name, l); err != nil && c.ctx.Err() == nil {
			t := time.NewTimer(limitAgain)
			defer t.Stop()
			select {
			case <-t.C:
				return logsNotLimited{l, err}
			case <-c.ctx.Done():
			}
		}
		return nil
	})
}

// logsNotLimited says that the launcher was not told. The next turn tries again.
type logsNotLimited struct {
	limits app.Logs
	err    error
}

func (e logsNotLimited) on(c *controller) {
	c.log.Warn("cannot limit the output that is kept", "error", e.err)
	if reflect.DeepEqual(c.limited, e.limits) {
		c.limited = app.Logs{}
	}
}
