package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// giveUp has an app stopped whose crash budget is spent (restart.on_rapid_fail:
// stop), as an operator would. Whoever waits for it stays until that is written
// down.
func (c *controller) giveUp(now time.Time) {
	why := app.RapidFail{Time: now, Message: fmt.Sprintf(
		"more than %d failures within a minute (restart.rapid_fails_per_minute, on_rapid_fail: stop): see roostctl events, then roostctl start %s",
		*c.serving().Spec.Restart.RapidFailsPerMinute, c.name)}
	if c.fault != nil {
		why.Message = c.fault.Message + "; " + why.Message
	}
	version := c.version
	c.errand(func(ctx context.Context) event {
		if c.stopUnasked(ctx, c.name, version, why) {
			return stopOvertaken{}
		}
		return nil
	})
}

// stopOvertaken says that a newer write came before an app was stopped for its
// failures. Where that has not forgiven them it is to be stopped still.
type stopOvertaken struct{}

func (stopOvertaken) on(c *controller) { c.blocked = false }

// stopForRapidFail stops an app for its failures, unless a newer write than
// version has come: that it tells. It tries until it is written down.
func (s *Supervisor) stopForRapidFail(ctx context.Context, name string, version int, why app.RapidFail) (overtaken bool) {
	for {
		overtaken, err := ask(ctx, s, func() (bool, error) {
			e := s.entries[name]
			if s.closing || e == nil || e.removed || e.Stopped {
				return false, nil
			}
			if e.version != version {
				return true, nil
			}
			next := superseded(e.Stored)
			next.Stopped, next.RapidFail = true, &why
			if err := s.store([]app.Stored{next}, nil); err != nil {
				s.cfg.Log.Error("state not written", "app", name, "error", err)
				return false, err
			}
			s.cfg.Recorder.Record(app.Event{
				ID: app.EventAppRapidFail, App: name, Severity: app.Error, Message: "app stopped: " + why.Message,
			})
			s.tell(e, writeStop)
			return false, nil
		})
		if err == nil || !s.pauseToCommit(ctx) {
			return overtaken
		}
	}
}

// inService returns a without what a stop for its failures left. A stop by an
// operator stays.
func inService(a app.Stored) app.Stored {
	if a.RapidFail != nil {
		a.Stopped, a.RapidFail = false, nil
	}
	return a
}
