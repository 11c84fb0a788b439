package probe

import (
	"testing"
	"time"
)

func TestFineTimer_SleepsNoLessThanAsked(t *testing.T) {
	timer, err := newFineTimer()
	if err != nil {
		t.Fatal(err)
	}
	defer timer.close()
	for _, d := range []time.Duration{time.Nanosecond, 100 * time.Microsecond, 2 * time.Millisecond} {
		start := time.Now()
		if err := timer.sleep(d); err != nil {
			t.Fatal(err)
		}
		if slept := time.Since(start); slept < d {
			t.Errorf("slept %v, asked for %v", slept, d)
		}
	}
}
