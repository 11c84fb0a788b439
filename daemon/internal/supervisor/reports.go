package supervisor

import (
	"fmt"
	"net/http"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// What instances tell their controller.

// launched says that an instance's program runs.
type launched struct {
	id      app.InstanceID
	launch  app.Launch // with its port
	process app.Process
}

// warmedUp says that an instance has answered the request of start.warmup.
type warmedUp struct {
	id     app.InstanceID
	path   string
	status int
	took   time.Duration
}

// becameReady says that an instance takes requests, for the first time or again.
type becameReady struct {
	id      app.InstanceID
	address string
	check   int // the newest question that this answers
}

// becameUnready says that a ready instance lives, but failed a check.
type becameUnready struct {
	id    app.InstanceID
	check int
	err   error
}

// checked answers a question that changed nothing.
type checked struct {
	id    app.InstanceID
	check int
}

// gaveUp says that an instance was unready for too long.
type gaveUp struct {
	id    app.InstanceID
	check int
	err   error
}

// startFailed says that an instance will not be ready.
type startFailed struct {
	id       app.InstanceID
	err      *app.StartError
	tail     string
	stranger bool // somebody else has its dynamic port
}

// exited says that the leader of an instance that was ready ended by itself.
type exited struct {
	id   app.InstanceID
	exit app.Exit
}

// stopping says that an instance has drained and was told to end.
type stopping struct{ id app.InstanceID }

// killing says that an instance did not end in time.
type killing struct {
	id    app.InstanceID
	after time.Duration
	asked asked
	told  bool // to kill it before that
}

// gone says that nothing of an instance is left. It is the last report.
type gone struct {
	id    app.InstanceID
	exit  *app.Exit // nil where it was never launched
	tail  string
	asked asked // how it was asked to, where it was
}

func (e launched) on(c *controller) {
	m := c.member(e.id)
	info := e.process.Info()
	m.process, m.launch = e.process, e.launch
	m.PID, m.StartTime, m.Output = info.PID, info.StartTime, info.Output
	c.noteConditions(info.Conditions)
}

func (e warmedUp) on(c *controller) {
	m := c.member(e.id)
	took := e.took.Round(time.Millisecond)
	if e.status < http.StatusBadRequest {
		c.recordInstance(m, app.EventInstanceWarm, app.Info, fmt.Sprintf("instance has warmed up: GET %s took %v", e.path, took))
		return
	}
	c.recordInstance(m, app.EventInstanceWarm, app.Warning, fmt.Sprintf(
		"instance has warmed up, but GET %s (start.warmup) was answered %d, after %v", e.path, e.status, took))
}

func (e becameReady) on(c *controller) {
	m := c.member(e.id)
	m.answered = max(m.answered, e.check)
	m.Address = e.address
	if !m.live() {
		return // it was told to stop meanwhile
	}
	m.Phase, m.readySince, m.wasReady = app.PhaseReady, time.Now(), 0
	if m.ReadyTime.IsZero() {
		m.ReadyTime = m.readySince
	}
	c.established, c.withheld = true, 0
	c.fault, c.retryAt = nil, time.Time{}
}

func (e becameUnready) on(c *controller) {
	m := c.member(e.id)
	m.answered = max(m.answered, e.check)
	if m.Phase != app.PhaseReady {
		return
	}
	m.wasReady = m.readyFor(time.Now())
	m.Phase, m.readySince, m.why = app.PhaseUnready, time.Time{}, fmt.Sprint(e.err)
}

func (e checked) on(c *controller) {
	m := c.member(e.id)
	m.answered = max(m.answered, e.check)
}

func (e gaveUp) on(c *controller) {
	m := c.member(e.id)
	m.answered = max(m.answered, e.check)
	if !m.live() {
		return
	}
	m.Reason = fmt.Sprintf("it was not ready any more for %v: %v", *m.launch.Spec.Start.Timeout, e.err)
	m.Phase = app.PhaseStopping
	c.recordInstance(m, app.EventInstanceStopping, app.Error, "instance is replaced: "+m.Reason)
	c.crashed(m, time.Now(), true)
	m.stop(c.stopOrder(m))
}

func (e exited) on(c *controller) {
	m := c.member(e.id)
	m.Exit = &e.exit
	if !m.live() {
		return // it was told to
	}
	m.Phase = app.PhaseStopping
	m.Reason = "it " + exitText(e.exit)
	c.crashed(m, onOurClock(e.exit.Time, time.Now()), e.exit.Failed())
}

func (e stopping) on(c *controller) {
	m := c.member(e.id)
	m.Phase = app.PhaseStopping
	c.recordInstance(m, app.EventInstanceStopping, app.Info, "instance is told to end: "+m.Reason)
}

func (e killing) on(c *controller) {
	m := c.member(e.id)
	message := fmt.Sprintf("instance is killed: it did not end within stop.timeout (%v) of %s", e.after, e.asked.by())
	if e.told {
		message = fmt.Sprintf("instance is killed: the daemon ends before stop.timeout (%v) of %s is over", e.after, e.asked.by())
	}
	c.recordInstance(m, app.EventInstanceKilled, app.Warning, message)
}

func (e gone) on(c *controller) {
	m := c.member(e.id)
	m.Exit = e.exit
	if e.exit != nil {
		c.recordExit(m, e)
	}
	c.failures.ended(m.readyFor(time.Now()))
	c.bury(m)
}

// onOurClock returns a time of the wall clock as one of the monotonic clock, so
// that a host whose clock is set delays and blocks nothing. It is now at the
// latest, and where t is unknown.
func onOurClock(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return now.Add(-max(0, now.Round(0).Sub(t.Round(0))))
}
