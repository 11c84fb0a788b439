package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

// pending is a rollout that a write has begun.
type pending struct {
	app, id string
	removes bool // it ends with the app
}

// step is what a watch of a rollout brings: how far it is, or why there is no more.
type step struct {
	app     string
	rollout *roostv1.Rollout
	serving int64 // at the end of a failed one: the generation that serves; 0: not known
	err     error
	ended   bool
}

// wait shows rollouts until all have ended, and fails with the first one that
// did not complete. With --no-wait it returns at once.
func (p *program) wait(ctx context.Context, list ...pending) error {
	var watched []pending
	for _, r := range list {
		if r.id != "" {
			watched = append(watched, r)
		}
	}
	if p.flags.noWait || len(watched) == 0 {
		return nil
	}
	steps := make(chan step)
	var wg sync.WaitGroup
	for _, r := range watched {
		wg.Go(func() { p.watchRollout(ctx, r, steps) })
	}
	errs := p.follow(steps, watched)
	wg.Wait()
	var all []appError
	for _, r := range watched {
		if err := errs[r.app]; err != nil {
			all = append(all, appError{r.app, err})
		}
	}
	return p.waitError(ctx, all)
}

// answer is what the daemon says to a write to one app.
type answer interface {
	proto.Message
	GetApp() *roostv1.App
	GetRolloutId() string
}

// finish waits until what a write has begun is true, and prints its answer.
func (p *program) finish(ctx context.Context, app string, resp answer, people func()) error {
	if err := p.wait(ctx, pending{app: app, id: resp.GetRolloutId()}); err != nil {
		return err
	}
	p.settle(ctx, resp.GetApp())
	return p.print(resp, app, func() error { people(); return nil })
}

// settle brings the app in a write's answer up to what it has become since, for
// programs that read the answer after the wait. Where that cannot be told, it stays.
func (p *program) settle(ctx context.Context, a *roostv1.App) {
	if p.flags.noWait || !p.forPrograms() || a == nil {
		return
	}
	if resp, err := p.apps().GetApp(ctx, &roostv1.GetAppRequest{Name: a.GetName()}); err == nil {
		proto.Reset(a)
		proto.Merge(a, resp.GetApp())
	}
}

// appError is why the wait for an app did not end well.
type appError struct {
	app string
	err error
}

// follow shows the steps until every watch has ended, and returns why those
// ended that did not complete.
func (p *program) follow(steps <-chan step, watched []pending) map[string]error {
	names := make([]string, len(watched))
	for i, r := range watched {
		names[i] = r.app
	}
	shown := p.newProgress(names)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := map[string]*roostv1.Rollout{}
	errs := map[string]error{}
	for open := len(watched); open > 0; {
		select {
		case <-tick.C:
			shown.draw()
		case s := <-steps:
			if s.rollout != nil {
				last[s.app] = s.rollout
				shown.update(s.app, s.rollout)
			}
			if s.ended {
				open--
				errs[s.app] = outcome(s.app, last[s.app], s.serving, s.err)
			}
		}
	}
	return errs
}

// A daemon that was killed is started again within moments, and goes on with what
// it had accepted: so long a watch that it cut is tried again, so often.
const (
	reconnectFor   = 5 * time.Second
	reconnectEvery = 100 * time.Millisecond
)

// watchRollout sends what it sees. The receiver takes every step, up to the last.
func (p *program) watchRollout(ctx context.Context, r pending, steps chan<- step) {
	seen := time.Now()
	var last *roostv1.Rollout
	for {
		err := p.watchOnce(ctx, r, func(now *roostv1.Rollout) {
			seen, last = time.Now(), now
			steps <- step{app: r.app, rollout: now}
		})
		if status.Code(err) != codes.Unavailable || time.Since(seen) > reconnectFor || !pause(ctx, reconnectEvery) {
			if r.removes && status.Code(err) == codes.NotFound && p.isGone(ctx, r.app) {
				err = nil // and its rollouts with it
				last = &roostv1.Rollout{Phase: roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE}
			}
			steps <- step{app: r.app, rollout: last, serving: p.servingAfter(ctx, last), err: cause(ctx, err), ended: true}
			return
		}
	}
}

// isGone tells whether the daemon knows no such app.
func (p *program) isGone(ctx context.Context, app string) bool {
	_, err := p.apps().GetApp(ctx, &roostv1.GetAppRequest{Name: app})
	return status.Code(err) == codes.NotFound
}

// servingAfter is the generation that serves on after a rollout that failed, 0 where
// none does, as after a first deployment, or that cannot be told.
func (p *program) servingAfter(ctx context.Context, r *roostv1.Rollout) int64 {
	if r.GetPhase() != roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED {
		return 0
	}
	resp, err := p.apps().GetApp(ctx, &roostv1.GetAppRequest{Name: r.GetApp()})
	if err != nil || resp.GetApp().GetServingGeneration() == r.GetGeneration() || resp.GetApp().GetReady() == 0 {
		return 0
	}
	return resp.GetApp().GetServingGeneration()
}

// watchOnce returns nil when the stream has ended well.
func (p *program) watchOnce(ctx context.Context, r pending, show func(*roostv1.Rollout)) error {
	stream, err := p.apps().WatchRollout(ctx, &roostv1.WatchRolloutRequest{RolloutId: r.id})
	if err != nil {
		return err
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if resp.GetRollout() != nil {
			show(resp.GetRollout())
		}
	}
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// outcome is nil for a rollout that completed. serving is the generation that one
// that failed was rolled back to, 0 for none.
func outcome(app string, r *roostv1.Rollout, serving int64, err error) error {
	if err != nil {
		return err
	}
	switch r.GetPhase() {
	case roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE:
		return nil
	case roostv1.RolloutPhase_ROLLOUT_PHASE_SUPERSEDED:
		return failed(exitConflict, "%s: a newer change took over before this one was done: see roostctl get %s", app, app)
	case roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED:
		message := r.GetMessage()
		if message == "" {
			message = "the rollout failed: see roostctl events"
		}
		switch {
		case serving != 0:
			message = fmt.Sprintf("%s: rolled back, generation %d keeps serving: %s", app, serving, strings.TrimPrefix(message, app+" "))
		case !strings.HasPrefix(message, app+" "):
			message = app + ": " + message
		}
		return &failure{code: exitFailed, err: errors.New(message), detail: outputOf(app, r.GetOutput())}
	default:
		return failed(exitFailed, "%s: the daemon ended the watch before the rollout was done: see roostctl get %s", app, app)
	}
}

// outputOf is the end of what an app wrote, below the error that it explains.
func outputOf(app, output string) string {
	if strings.TrimSpace(output) == "" {
		return ""
	}
	return "last output of " + app + ":\n" + render.Indent(render.CleanLines(output), "  | ")
}

// waitError is the first error, with the failures of the other apps below it.
func (p *program) waitError(ctx context.Context, all []appError) error {
	if len(all) == 0 {
		return nil
	}
	app, err := all[0].app, all[0].err
	first, ok := errors.AsType[*failure](err)
	switch {
	case ok:
	case timedOut(err):
		return failed(exitTimeout, "%s: not done within %s: it goes on, see roostctl get %s", app, p.flags.timeout, app)
	case errors.Is(err, errInterrupted):
		return failed(exitFailed, "interrupted: the change to %s goes on, see roostctl get %s", app, app)
	case status.Code(err) == codes.NotFound:
		return failed(exitFailed, "%s: the daemon no longer knows the rollout: see roostctl get %s", app, app)
	default:
		return cause(ctx, err)
	}
	joined := *first
	for _, other := range all[1:] {
		if f, ok := errors.AsType[*failure](other.err); ok {
			joined.detail += "roostctl: " + render.Clean(f.Error()) + "\n" + f.detail
		}
	}
	return &joined
}
