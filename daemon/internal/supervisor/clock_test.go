package supervisor

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestTimesOfDay(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	moment := func(s string) time.Time {
		t.Helper()
		m, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return m.In(zone)
	}
	tests := map[string]struct {
		at         []string
		now        string
		last, next string
	}{
		"between":               {[]string{"03:00", "15:30"}, "2026-05-05T12:00:00+02:00", "2026-05-05T03:00:00+02:00", "2026-05-05T15:30:00+02:00"},
		"just then":             {[]string{"03:00"}, "2026-05-05T03:00:00+02:00", "2026-05-05T03:00:00+02:00", "2026-05-06T03:00:00+02:00"},
		"just before":           {[]string{"03:00"}, "2026-05-05T02:59:59+02:00", "2026-05-04T03:00:00+02:00", "2026-05-05T03:00:00+02:00"},
		"over the year's end":   {[]string{"23:30"}, "2026-01-01T00:10:00+01:00", "2025-12-31T23:30:00+01:00", "2026-01-01T23:30:00+01:00"},
		"a short day":           {[]string{"04:00"}, "2026-03-29T00:30:00+01:00", "2026-03-28T04:00:00+01:00", "2026-03-29T04:00:00+02:00"},
		"a long day":            {[]string{"04:00"}, "2026-10-25T00:30:00+02:00", "2026-10-24T04:00:00+02:00", "2026-10-25T04:00:00+01:00"},
		"a day that has it not": {[]string{"02:30"}, "2026-03-29T12:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now := moment(tt.now)
			if got := lastAt(tt.at, now); !got.Equal(moment(tt.last)) {
				t.Errorf("last %v, want %s", got, tt.last)
			}
			if got := nextAt(tt.at, now); !got.Equal(moment(tt.next)) {
				t.Errorf("next %v, want %s", got, tt.next)
			}
		})
	}
}

// Whoever looks each minute of a day sees each time once, whatever its clock does.
func TestTimesOfDay_OncePerDay(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, day := range []int{24, 25, 26} { // summer time ends on the 25th
		seen := map[time.Time]bool{}
		start := time.Date(2026, time.October, day, 0, 0, 0, 0, zone)
		end := time.Date(2026, time.October, day+1, 0, 0, 0, 0, zone)
		for now := start; now.Before(end); now = now.Add(time.Minute) {
			if last := lastAt([]string{"02:30"}, now); !last.Before(start) {
				seen[last] = true
			}
		}
		if len(seen) != 1 {
			t.Errorf("October %d: %v", day, seen)
		}
	}
}

func TestTimesOfDay_None(t *testing.T) {
	if last, next := lastAt(nil, now), nextAt(nil, now); !last.IsZero() || !next.IsZero() {
		t.Errorf("%v, %v", last, next)
	}
}

func TestHasPassed(t *testing.T) {
	last := now.Add(-time.Hour)
	tests := map[string]struct {
		t    time.Time
		age  time.Duration
		want bool
	}{
		"before":                          {last.Add(-time.Second), time.Hour + time.Second, true},
		"after":                           {last.Add(time.Second), time.Hour - time.Second, false},
		"after, the clock was set back":   {now.Add(time.Hour), 2 * time.Hour, false},
		"before, it had been years ahead": {now.AddDate(4, 0, 0), 2 * time.Hour, true},
		"after, it had been years ahead":  {now.AddDate(4, 0, 0), time.Minute, false},
	}
	for name, tt := range tests {
		if got := hasPassed(last, tt.t, now, tt.age); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
