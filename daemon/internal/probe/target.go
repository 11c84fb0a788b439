package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// target is one instance on its way to ready.
type target struct {
	*Prober
	p       app.Process
	l       app.Launch
	info    app.ProcessInfo
	start   time.Time
	address string // where the proxy reaches it, once that is known
	weak    bool   // the owner check fell back on the uid, and that was said
}

// step is one thing that must come true before the instance is ready.
type step interface {
	// wait returns nil once it is true, a *app.StartError where it will not be,
	// and the context's error when that ends first.
	wait(ctx context.Context) error
	// missing says what did not come true, for an instance that ran out of time.
	missing(ctx context.Context) string
}

func (r *Prober) newTarget(p app.Process, l app.Launch) *target {
	t := &target{Prober: r, p: p, l: l, info: p.Info(), start: time.Now()}
	if l.Spec.Listen.Mode == app.ListenFD {
		t.address = t.info.Address
	}
	return t
}

// steps lists what must come true, in this order. The socket comes first: a log
// line, a notification and a command lose nothing by being asked for later.
func (t *target) steps() []step {
	question := t.question()
	switch t.l.Spec.Listen.Mode {
	case app.ListenNone:
		return []step{&uptime{t}, question}
	case app.ListenFD:
		if question == (none{}) {
			return []step{&accepted{target: t}}
		}
		return []step{question}
	case app.ListenUnix:
		return []step{&unixSocket{t}, question}
	default:
		socket := &listening{target: t}
		if question == (none{}) {
			return []step{socket}
		}
		// What answered must be the instance, to the end.
		return []step{socket, question, socket}
	}
}

// question is the ready probe's step.
func (t *target) question() step {
	ready := t.l.Spec.Ready
	switch ready.Kind {
	case app.ProbeHTTP:
		return &asking{target: t, pace: t.pace(firstPause), ask: newHTTPCheck(t).ask}
	case app.ProbeTCP:
		if t.l.Spec.Listen.Mode == app.ListenFD {
			return none{} // the kernel connects long before the app is up: it must accept
		}
		return &asking{target: t, pace: t.pace(firstPause), ask: t.connect}
	case app.ProbeExec:
		return &asking{target: t, pace: t.pace(firstExecPause), ask: t.exec}
	case app.ProbeLog:
		return &logLine{target: t}
	case app.ProbeNotify:
		return &notified{t}
	default:
		return none{}
	}
}

// check asks once, of an instance that was ready.
func (t *target) check(ctx context.Context) error {
	ready := t.l.Spec.Ready
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	switch t.l.Spec.Listen.Mode {
	case app.ListenNone:
	case app.ListenUnix:
		if done, err := (&unixSocket{t}).try(ctx); err != nil || !done {
			return cmpError(err, "nothing of the instance listens on %s", t.address)
		}
	default:
		if err := t.stillListens(ctx); err != nil {
			return err
		}
	}
	switch ready.Kind {
	case app.ProbeHTTP:
		return newHTTPCheck(t).ask(ctx)
	case app.ProbeTCP:
		return t.connect(ctx)
	case app.ProbeExec:
		return t.exec(ctx)
	default:
		return nil
	}
}

// failure makes the start's error of what a step returned.
func (t *target) failure(ctx context.Context, s step, err error) error {
	if _, ok := errors.AsType[*app.StartError](err); ok {
		return err
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		// The deadline has passed; saying what is missing takes a moment more.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return &app.StartError{
			Step: "timeout", Timeout: true, Err: err,
			Message: fmt.Sprintf("not ready after %s: %s", t.limit(), s.missing(ctx)),
		}
	case ctx.Err() != nil:
		return &app.StartError{Step: "probe", Message: "the start was given up", Err: context.Cause(ctx)}
	default:
		return &app.StartError{Step: "probe", Message: err.Error(), Err: err}
	}
}

// limit is how long the start might take, for people.
func (t *target) limit() time.Duration {
	if d := t.l.Spec.Start.Timeout; d != nil && *d > 0 {
		return *d
	}
	return time.Since(t.start).Round(time.Millisecond)
}

// timeout is how long one question may take.
func (t *target) timeout() time.Duration {
	if d := t.l.Spec.Ready.Timeout; d != nil && *d > 0 {
		return *d
	}
	return defaultTimeout
}

// defaultTimeout is that of the manifest.
const defaultTimeout = 2 * time.Second

// unixPath is the path of a unix address.
func unixPath(address string) (path string, ok bool) { return strings.CutPrefix(address, "unix:") }

// cmpError returns err, or where that is nil an error of the format.
func cmpError(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}
