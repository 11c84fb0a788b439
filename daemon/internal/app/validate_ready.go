package app

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s Spec) validateReady(v *violations) {
	p := s.Ready
	if p.Interval != nil {
		inRange(v, "ready.interval", *p.Interval, minProbeInterval, time.Hour)
	}
	v.above("ready.timeout", *p.Timeout)
	switch p.Kind {
	case ProbeListen, ProbeNotify:
	case ProbeHTTP:
		p.HTTP.validate(v)
		fallthrough
	case ProbeTCP:
		if s.Listen.Mode == ListenNone {
			v.add("ready."+string(p.Kind), "a worker (listen.mode: none) has no address to ask: use exec, log or notify")
		}
	case ProbeExec:
		s.validateCommand(v, "ready.exec.command", p.Command)
	case ProbeLog:
		if p.Pattern == "" {
			v.add("ready.log.pattern", "it is required: a regular expression")
		} else if _, err := regexp.Compile(p.Pattern); err != nil {
			v.add("ready.log.pattern", "%v", err)
		}
	default:
		v.add("ready", "%q is not one of http, tcp, exec, log, notify", p.Kind)
	}
}

func (c HTTPCheck) validate(v *violations) {
	if _, err := url.ParseRequestURI(c.Path); !strings.HasPrefix(c.Path, "/") {
		v.add("ready.http.path", "%q is not a path that begins with /", c.Path)
	} else if err != nil || strings.ContainsFunc(c.Path, func(r rune) bool { return r == ' ' || r == '#' }) {
		v.add("ready.http.path", "%q is not the path of a URL: %v", c.Path, cmp.Or(unwrapURL(err), errNotInURL))
	}
	if u, err := url.Parse("//" + c.Host); err != nil || u.Host != c.Host || strings.ContainsFunc(c.Host, notInHost) {
		v.add("ready.http.host", "%q is not a host name", c.Host)
	}
	if _, err := ParseStatuses(c.Status); err != nil {
		v.add("ready.http.status", "%v", err)
	}
	for _, k := range slices.Sorted(maps.Keys(c.Headers)) {
		if !headerRE.MatchString(k) {
			v.add("ready.http.headers."+k, "%q is not the name of a header", k)
		}
		if strings.ContainsFunc(c.Headers[k], func(r rune) bool { return isControl(r) && r != '\t' }) {
			v.add("ready.http.headers."+k, "its value holds a control character")
		}
	}
}

// headerRE is a token of RFC 9110, section 5.6.2.
var headerRE = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

var errNotInURL = errors.New("it holds a space or a #")

// unwrapURL is the reason without the URL, which is said already.
func unwrapURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func notInHost(r rune) bool { return isControl(r) || r == ' ' || r == '/' || r == '@' }

// StatusRange is an inclusive range of HTTP status codes.
type StatusRange struct{ Low, High int }

// ParseStatuses reads "200", "200-399" or a comma list of both.
func ParseStatuses(s string) ([]StatusRange, error) {
	var ranges []StatusRange
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, errA := strconv.Atoi(low)
		b := a
		var errB error
		if isRange {
			b, errB = strconv.Atoi(high)
		}
		if errA != nil || errB != nil || a < 100 || b > 599 || a > b {
			return nil, fmt.Errorf("%q is not a list of statuses such as 200-399 or 200,204", s)
		}
		ranges = append(ranges, StatusRange{a, b})
	}
	return ranges, nil
}
