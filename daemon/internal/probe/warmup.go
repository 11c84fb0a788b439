package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/roostd/roost/daemon/internal/app"
)

// maxWarmupBody is how much of the answer to a warm-up is waited for.
const maxWarmupBody = 1 << 20

// WarmUp has an instance that listens at address answer a GET of start.warmup, and
// returns the status. A connection that breaks before an answer is no answer: it is
// asked again until ctx ends, and the error is a *app.StartError.
func (r *Prober) WarmUp(ctx context.Context, p app.Process, l app.Launch, address string) (status int, err error) {
	t := r.newTarget(p, l)
	t.address = address
	var last error
	pace := pace{start: t.start, first: firstPause}
	err = poll(ctx, pace, func(ctx context.Context) (bool, error) {
		var err error
		if status, err = t.warmUp(ctx); err != nil && !endsNow(ctx) {
			last = err
		}
		return err == nil, nil
	})
	if err == nil {
		return status, nil
	}
	if last == nil {
		last = fmt.Errorf("GET %s got no answer", l.Spec.Start.Warmup)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 0, &app.StartError{
			Step: "warmup", Timeout: true, Err: err,
			Message: fmt.Sprintf("not ready after %s: start.warmup: %v", t.limit(), last),
		}
	}
	return 0, &app.StartError{Step: "warmup", Message: "the start was given up", Err: context.Cause(ctx)}
}

// warmUp asks once.
func (t *target) warmUp(ctx context.Context) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host(t.l.Spec)+t.l.Spec.Start.Warmup, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "roost-warmup")
	if overTLS(t.l.Spec) {
		req.Header.Set("X-Forwarded-Proto", "https")
	}
	pair(req.Header, t.l)
	res, err := t.client().Do(req)
	if err != nil {
		return 0, t.quoted(err)
	}
	// What breaks off in the body has warmed the app up as well.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxWarmupBody))
	_ = res.Body.Close()
	return res.StatusCode, nil
}
