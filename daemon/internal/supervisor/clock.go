package supervisor

import (
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// Times of day are the one thing here that goes by the wall clock, in the daemon's
// time zone. Which moment has passed is worked out anew each time, and an instance
// is due where it became ready before that: so a time that a clock passes over,
// as one that is set does, counts once, and one that comes twice, as when summer
// time ends, does too.

// clockCheck is how late a clock that was set is noticed.
const clockCheck = time.Minute

// lastAt returns the newest moment, now at the latest, of the given times of day;
// zero where there is none.
func lastAt(at []string, now time.Time) time.Time {
	var last time.Time
	for _, t := range timesAround(at, now) {
		if !t.After(now) && t.After(last) {
			last = t
		}
	}
	return last
}

// hasPassed tells whether the moment last came after t, which was so long ago. A t
// that is far ahead was read from a clock that has been set back since: its age
// tells more.
func hasPassed(last, t, wall time.Time, age time.Duration) bool {
	if t = t.Round(0); t.Sub(wall) > 24*time.Hour {
		t = wall.Add(-age)
	}
	return t.Before(last)
}

// nextAt returns the first moment after now of the given times of day.
func nextAt(at []string, now time.Time) time.Time {
	var next time.Time
	for _, t := range timesAround(at, now) {
		if t.After(now) {
			next = earliest(next, t)
		}
	}
	return next
}

// timesAround returns the moments of the given times of day, of yesterday until
// the day after tomorrow. A day has each just once: of a time that it has twice
// one is taken, and for one that it has not, the moment an hour beside it.
func timesAround(at []string, now time.Time) []time.Time {
	var list []time.Time
	year, month, day := now.Date()
	for _, text := range at {
		of, err := app.ParseTimeOfDay(text)
		if err != nil {
			continue // a validated spec has none such
		}
		minutes := int(of / time.Minute)
		for d := day - 1; d <= day+2; d++ {
			list = append(list, time.Date(year, month, d, minutes/60, minutes%60, 0, 0, now.Location()))
		}
	}
	return list
}
