package supervisor

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// record appends an event of the app.
func (c *controller) record(id app.EventID, s app.Severity, message string) {
	c.cfg.Recorder.Record(app.Event{ID: id, App: c.name, Severity: s, Message: message})
}

// recordInstance appends an event of one of its instances.
func (c *controller) recordInstance(m *member, id app.EventID, s app.Severity, message string) {
	c.cfg.Recorder.Record(app.Event{
		ID: id, App: c.name, Instance: m.ID, Severity: s, Message: message, Attributes: m.attributes(),
	})
}

// recordReadiness appends the events of instances that have become ready, or are so no
// longer, once those who wait have learnt it. One that changes from moment to moment
// would fill the event log with nothing else: that it is unready is told every
// failureEvery at the most. It returns when to look again.
func (c *controller) recordReadiness(now time.Time) (again time.Time) {
	for _, m := range c.members {
		next := m.told.unready.Add(failureEvery)
		switch {
		case m.Phase == app.PhaseReady && !m.told.ready:
			m.told.ready = true
			message := "instance is ready again"
			if m.ReadyTime.Equal(m.readySince) {
				message = fmt.Sprintf("instance is ready after %v", m.ReadyTime.Sub(m.StartTime).Round(100*time.Microsecond))
			}
			c.recordInstance(m, app.EventInstanceReady, app.Info, message)
		case m.Phase == app.PhaseUnready && m.told.ready && !m.told.unready.IsZero() && now.Before(next):
			again = earliest(again, next)
		case m.Phase == app.PhaseUnready && m.told.ready:
			m.told = readiness{unready: now}
			c.recordInstance(m, app.EventInstanceUnready, app.Warning, "instance is not ready any more: "+m.why)
		}
	}
	return again
}

func (m *member) attributes() map[string]string {
	a := map[string]string{"generation": number(m.Generation)}
	if m.PID != 0 {
		a["pid"] = number(int64(m.PID))
	}
	if m.Address != "" {
		a["address"] = m.Address
	}
	if m.Rollout != "" {
		a["rollout"] = m.Rollout
	}
	return a
}

func (c *controller) recordFailedStart(m *member, e startFailed) {
	a := m.attributes()
	a["step"] = e.err.Step
	if e.tail != "" {
		a["output"] = e.tail
	}
	c.cfg.Recorder.Record(app.Event{
		ID: app.EventStartFailed, App: c.name, Instance: m.ID, Severity: app.Error,
		Message: "start failed: " + e.err.Message, Attributes: a,
	})
}

// shortTail is the part of a failed start's output that stays with the instance:
// an app keeps many that have ended, and all of them are in one answer.
func shortTail(output string) string {
	if len(output) <= tailBytes {
		return output
	}
	cut := output[len(output)-tailBytes:]
	if i := strings.IndexByte(cut, '\n'); i >= 0 && i+1 < len(cut) {
		return cut[i+1:]
	}
	return strings.ToValidUTF8(cut, "") // half a rune at its beginning
}

// recordExit tells how an instance ended. One that was not asked to is an error,
// with its last output.
func (c *controller) recordExit(m *member, e gone) {
	asked, severity := m.order.stop != nil, app.Info
	a := m.attributes()
	a["exit"] = exitText(*m.Exit)
	e.asked.attributes(a)
	message := "instance " + exitText(*m.Exit)
	if asked { // graceful: by itself, in the time that it was given
		a["graceful"] = strconv.FormatBool(!m.Exit.Unknown && m.Exit.Signal != syscall.SIGKILL)
	}
	switch {
	case asked && e.asked.requested:
		message += fmt.Sprintf(", as it was told to (by %s): %s", e.asked.by(), m.Reason)
	case asked:
		message += ", as it was told to: " + m.Reason
	case !m.ReadyTime.IsZero():
		severity = app.Error
		m.OutputTail = e.tail
		a["output"] = e.tail
	}
	c.cfg.Recorder.Record(app.Event{
		ID: app.EventInstanceExited, App: c.name, Instance: m.ID, Severity: severity, Message: message, Attributes: a,
	})
}

// recordRollout appends an event of the rollout under way.
func (c *controller) recordRollout(id app.EventID, s app.Severity, message string) {
	c.cfg.Recorder.Record(app.Event{
		ID: id, App: c.name, Severity: s, Message: message,
		Attributes: map[string]string{"rollout": c.roll.id, "generation": number(c.roll.target)},
	})
}
