package app

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// MaxWatch is how many patterns recycle.watch may have.
const MaxWatch = 64

func (s Spec) validateRecycle(v *violations) {
	r := s.Recycle
	inRange(v, "recycle.min_ready", *r.MinReady, 0, maxDuration)
	inRange(v, "recycle.max_age", r.MaxAge, 0, maxDuration)
	inRange(v, "recycle.settle", *r.Settle, 0, time.Hour)
	inRange(v, "recycle.max_memory", r.MaxMemory, 0, 1<<60)
	inRange(v, "recycle.max_requests", r.MaxRequests, 0, 1<<60)
	if r.MaxRequests != 0 && s.Listen.Mode == ListenNone {
		v.add("recycle.max_requests", "a worker (listen.mode: none) gets no requests to count: take it out")
	}
	for i, at := range r.At {
		field := fmt.Sprintf("recycle.at[%d]", i)
		if _, err := ParseTimeOfDay(at); err != nil {
			v.add(field, "%v", err)
		} else if slices.Contains(r.At[:i], at) {
			v.add(field, "%s is given twice", at)
		}
	}
	if len(r.Watch) > MaxWatch {
		v.add("recycle.watch", "it has %d patterns, and may have %d", len(r.Watch), MaxWatch)
	}
	for i, pattern := range r.Watch {
		if msg := patternFault(pattern); msg != "" {
			v.add(fmt.Sprintf("recycle.watch[%d]", i), "%q %s", pattern, msg)
		}
	}
}

// ParseTimeOfDay reads "03:00", as the time since midnight.
func ParseTimeOfDay(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("%q is not a time of day such as 03:00", s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// patternFault says what is wrong with a pattern of files below an app's folder.
func patternFault(pattern string) string {
	_, err := path.Match(pattern, "x")
	switch {
	case pattern == "" || strings.ContainsRune(pattern, 0):
		return "is not a pattern of files"
	case path.IsAbs(pattern):
		return "is absolute: only what lies below dir is watched"
	case pattern == ".." || strings.HasPrefix(path.Clean(pattern), "../"):
		return "leads out of dir: only what lies below it is watched"
	case strings.Contains(pattern, "**"):
		return "has **, which is not known: a pattern names each folder on its way"
	case err != nil:
		return "is not a pattern: * and ? match within a name, [a-z] a character"
	case path.Clean(pattern) != pattern:
		return "is not clean: write " + path.Clean(pattern)
	}
	return ""
}
