package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads 90s, 5m, 29h, 100ms, 1h30m or 0.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err == nil && d < 0:
		return 0, errors.New("want a duration that is not negative")
	case err == nil:
		return d, nil
	}
	if _, nerr := strconv.ParseFloat(s, 64); nerr == nil {
		return 0, fmt.Errorf("a duration needs a unit: write %ss, or with ms, m or h", s)
	}
	return 0, errors.New("want a duration such as 90s, 5m, 29h or 0")
}

// formatDuration writes a duration in the largest unit that holds it exactly.
func formatDuration(d time.Duration) string {
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond}} {
		if d%u.unit == 0 && d != 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	if d == 0 {
		return "0s"
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}

// formatSeconds writes a duration as the proto's own JSON does: 90s, 0.1s.
func formatSeconds(d time.Duration) string {
	s := strconv.FormatInt(int64(d/time.Second), 10)
	frac := int64(d % time.Second)
	if frac < 0 {
		frac = -frac
		if d > -time.Second {
			s = "-" + s
		}
	}
	if frac != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%09d", frac), "0")
	}
	return s + "s"
}
