package webconfig

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// boolean reads a value as IIS does: true or false, in any case.
func (r *reader) boolean(a *attribute, field string) (value, ok bool) {
	if r.token(a, field) {
		return false, false
	}
	switch strings.ToLower(strings.TrimSpace(a.value)) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	r.error(a.place, field, "%s %q is neither true nor false", a.name, a.value)
	return false, false
}

// number reads a whole number within the bounds that IIS's schema has.
func (r *reader) number(a *attribute, field string, low, high uint32) (int32, bool) {
	if r.token(a, field) {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(a.value), 10, 31)
	if err != nil || uint32(n) < low || uint32(n) > high {
		r.error(a.place, field, "%s %q is not a number from %d to %d", a.name, a.value, low, high)
		return 0, false
	}
	return int32(n), true
}

// seconds reads a limit in seconds.
func (r *reader) seconds(a *attribute, field string, low, high uint32) (time.Duration, bool) {
	n, ok := r.number(a, field, low, high)
	return time.Duration(n) * time.Second, ok
}

var timeSpanPattern = regexp.MustCompile(`^(?:(\d{1,3})\.)?(\d{1,3}):(\d{1,2}):(\d{1,2})(?:\.0{1,7})?$`)

// timeSpan reads [days.]hours:minutes:seconds.
func timeSpan(s string) (time.Duration, bool) {
	m := timeSpanPattern.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, false
	}
	part := func(i int) int {
		n, _ := strconv.Atoi(m[i]) // digits, or nothing: 0
		return n
	}
	if part(3) > 59 || part(4) > 59 {
		return 0, false
	}
	return time.Duration(((part(1)*24+part(2))*60+part(3))*60+part(4)) * time.Second, true
}

var (
	tokenHash = regexp.MustCompile(`#\{[^{}]+\}#?`)
	tokenBars = regexp.MustCompile(`(?:^|[^A-Za-z0-9_])(__[A-Za-z0-9](?:[A-Za-z0-9.-]|_[A-Za-z0-9.-])*__)(?:$|[^A-Za-z0-9_])`)
)

// unreplaced returns a token that a deployment should have replaced, or "".
func unreplaced(s string) string {
	if m := tokenHash.FindString(s); m != "" {
		return m
	}
	if m := tokenBars.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

// token reports a deployment's token left in a value, and whether there is one.
func (r *reader) token(a *attribute, field string) bool {
	t := unreplaced(a.value)
	if t == "" {
		return false
	}
	r.loss(lossTokens, a.place, field, "%s holds %s, which a deployment should have replaced: replace it, and import the file that was deployed", a.name, t)
	return true
}

// slashes turns a Windows path's separators.
func slashes(s string) string { return strings.ReplaceAll(s, `\`, "/") }

var drive = regexp.MustCompile(`^[A-Za-z]:`)

func hasDrive(s string) bool { return drive.MatchString(s) }

// isWindowsPath reports a path that only Windows has.
func isWindowsPath(s string) bool {
	return hasDrive(s) && len(s) > 2 && (s[2] == '\\' || s[2] == '/') || strings.HasPrefix(s, `\\`)
}
