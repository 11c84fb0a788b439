package supervisor

import (
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	rapidFailWindow = time.Minute      // of the crash budget
	stableAfter     = 10 * time.Second // ready for so long, an instance ends the streak of failures
	minRetry        = time.Second      // until a request may try a failed start again
)

// failures is the history of an app's failures: exits that were not asked for,
// and failed starts.
type failures struct {
	times  []time.Time // of the last rapidFailWindow, oldest first
	streak int         // in a row, none of them after stableAfter ready
}

// add counts a failure at t.
func (f *failures) add(t time.Time) {
	f.streak++
	f.times = append(f.times, t)
	slices.SortStableFunc(f.times, time.Time.Compare) // those of a recovery may come late
	newest := f.times[len(f.times)-1]
	f.times = slices.DeleteFunc(f.times, func(old time.Time) bool { return newest.Sub(old) > rapidFailWindow })
}

// ended takes note of how long an ending instance was ready.
func (f *failures) ended(ready time.Duration) {
	if ready >= stableAfter {
		f.streak = 0
	}
}

// blockedUntil returns when no more than limit failures lie within the window
// any more, and whether that is still to come.
func (f *failures) blockedUntil(limit int, now time.Time) (time.Time, bool) {
	if len(f.times) <= limit {
		return time.Time{}, false
	}
	until := f.times[len(f.times)-1-limit].Add(rapidFailWindow)
	return until, until.After(now)
}

// restartDelay is how long the next start waits after the streak's last failure:
// not at all after the first, then backoff, doubling up to its maximum.
func restartDelay(streak int, r app.Restart) time.Duration {
	if streak <= 1 {
		return 0
	}
	d := *r.Backoff
	for range streak - 2 {
		if d >= *r.MaxBackoff {
			break
		}
		d *= 2
	}
	return min(d, *r.MaxBackoff)
}

// retryDelay is how long after a failed start no request starts the app again.
func retryDelay(streak int, r app.Restart) time.Duration {
	return max(minRetry, restartDelay(streak, r))
}

// restartsUnasked tells whether the daemon replaces an instance that ended by
// itself; failed tells whether its end was a failure to restart.when.
func restartsUnasked(when app.RestartWhen, failed bool) bool {
	switch when {
	case app.RestartAlways:
		return true
	case app.RestartOnFailure:
		return failed
	}
	return false
}
