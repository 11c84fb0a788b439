package probe

import (
	"context"
	"time"
)

// The pause between two questions is a few percent of the time already waited,
// so that a start is never felt to be longer than the app's own boot: a doubling
// back-off would add tens of milliseconds to a boot of a hundred.
const (
	firstPause     = time.Millisecond // a question to the kernel costs some microseconds
	firstExecPause = 20 * time.Millisecond
	pausePercent   = 3
	longestPause   = time.Second
)

// pace gives the pauses between questions.
type pace struct {
	start time.Time
	first time.Duration // the shortest pause
	fixed time.Duration // ready.interval; 0: none was given
}

// pace is that of the ready probe.
func (t *target) pace(first time.Duration) pace {
	p := pace{start: t.start, first: first}
	if d := t.l.Spec.Ready.Interval; d != nil {
		p.fixed = *d
	}
	return p
}

// socketPace is that of questions to the kernel, which ready.interval is not about.
func (t *target) socketPace() pace { return pace{start: t.start, first: firstPause} }

func (p pace) next() time.Duration {
	if p.fixed > 0 {
		return p.fixed
	}
	return min(max(time.Since(p.start)*pausePercent/100, p.first), max(longestPause, p.first))
}

// poll asks try until it is done, fails or ctx ends.
func poll(ctx context.Context, p pace, try func(context.Context) (bool, error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done, err := try(ctx); done || err != nil {
			return err
		}
		timer.Reset(p.next())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
}
