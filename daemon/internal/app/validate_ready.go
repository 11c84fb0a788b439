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
	s.validateProbe(v, "ready", s.Ready, []ProbeKind{ProbeHTTP, ProbeTCP, ProbeExec, ProbeLog, ProbeNotify})
	if w := s.Start.Warmup; w != "" {
		validateURLPath(v, "start.warmup", w)
		if s.Listen.Mode == ListenNone {
			v.add("start.warmup", "a worker (listen.mode: none) has no address to ask: take it out")
		}
	}
}

func (s Spec) validateHealth(v *violations) {
	if s.Health == nil {
		return
	}
	s.validateProbe(v, "health", s.Health.Probe, []ProbeKind{ProbeHTTP, ProbeTCP, ProbeExec})
	inRange(v, "health.failures", *s.Health.Failures, 1, 1000)
	if s.Health.Probe.Kind == ProbeListen && s.Listen.Mode == ListenNone {
		v.add("health", "a worker (listen.mode: none) has no socket to look for: use exec")
	}
}

// validateProbe checks a probe at field, which may be of the given kinds, or
// look for a listening socket.
func (s Spec) validateProbe(v *violations, field string, p Probe, kinds []ProbeKind) {
	if p.Interval != nil {
		inRange(v, field+".interval", *p.Interval, minProbeInterval, time.Hour)
	}
	v.above(field+".timeout", *p.Timeout)
	if p.Kind != ProbeListen && !slices.Contains(kinds, p.Kind) {
		v.add(field, "%q is not one of %v", p.Kind, kinds)
		return
	}
	switch p.Kind {
	case ProbeHTTP:
		p.HTTP.validate(v, field+".http")
		fallthrough
	case ProbeTCP:
		if s.Listen.Mode == ListenNone {
			v.add(field+"."+string(p.Kind), "a worker (listen.mode: none) has no address to ask: use exec, log or notify")
		}
	case ProbeExec:
		s.validateCommand(v, field+".exec.command", p.Command)
	case ProbeLog:
		if p.Pattern == "" {
			v.add(field+".log.pattern", "it is required: a regular expression")
		} else if _, err := regexp.Compile(p.Pattern); err != nil {
			v.add(field+".log.pattern", "%v", err)
		}
	}
}

func (c HTTPCheck) validate(v *violations, field string) {
	validateURLPath(v, field+".path", c.Path)
	if u, err := url.Parse("//" + c.Host); err != nil || u.Host != c.Host || strings.ContainsFunc(c.Host, notInHost) {
		v.add(field+".host", "%q is not a host name", c.Host)
	}
	if _, err := ParseStatuses(c.Status); err != nil {
		v.add(field+".status", "%v", err)
	}
	for _, k := range slices.Sorted(maps.Keys(c.Headers)) {
		if !headerRE.MatchString(k) {
			v.add(field+".headers."+k, "%q is not the name of a header", k)
		}
		if strings.ContainsFunc(c.Headers[k], func(r rune) bool { return isControl(r) && r != '\t' }) {
			v.add(field+".headers."+k, "its value holds a control character")
		}
	}
}

// validateURLPath refuses what is not the path of a URL, with or without a query.
func validateURLPath(v *violations, field, p string) {
	if _, err := url.ParseRequestURI(p); !strings.HasPrefix(p, "/") {
		v.add(field, "%q is not a path that begins with /", p)
	} else if err != nil || strings.ContainsFunc(p, func(r rune) bool { return r == ' ' || r == '#' }) {
		v.add(field, "%q is not the path of a URL: %v", p, cmp.Or(unwrapURL(err), errNotInURL))
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
