package probe

import (
	"context"
	"time"
)

// The pause between two questions is a few percent of the time already waited,
// so that a start is never felt to be longer than the app's own boot: a doubling
// back-off would add tens of milliseconds to a boot of a hundred.
const (
	firstPause     = time.Millisecond
	firstFinePause = 300 * time.Microsecond // of a question to the kernel, which costs some microseconds
	firstExecPause = 20 * time.Millisecond
	pausePercent   = 3
	longestPause   = time.Second
)

// pace gives the pauses between questions.
type pace struct {
	start time.Time
	first time.Duration // the shortest pause
	fixed time.Duration // ready.interval; 0: none was given
	fine  bool          // pauses below firstPause are kept to with the kernel's precision
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
func (t *target) socketPace() pace {
	if t.fine {
		return pace{start: t.start, first: firstFinePause, fine: true}
	}
	return pace{start: t.start, first: firstPause}
}

func (p pace) next() time.Duration {
	if p.fixed > 0 {
		return p.fixed
	}
	return min(max(time.Since(p.start)*pausePercent/100, p.first), max(longestPause, p.first))
}

// fineTimer returns the timer for fine pauses; nil where there are none.
func (p pace) fineTimer() (*fineTimer, error) {
	if !p.fine {
		return nil, nil //nolint:nilnil // none is no error
	}
	return newFineTimer()
}

// poll asks try until it is done, fails or ctx ends.
func poll(ctx context.Context, p pace, try func(context.Context) (bool, error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	fine, err := p.fineTimer()
	if err != nil {
		return err
	}
	if fine != nil {
		defer fine.close()
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done, err := try(ctx); done || err != nil {
			return err
		}
		pause := p.next()
		if fine != nil && pause < firstPause {
			if err := fine.sleep(pause); err != nil {
				return err
			}
			continue
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
}
