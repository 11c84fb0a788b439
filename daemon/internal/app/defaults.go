package app

import (
	"slices"
	"strings"
	"time"
)

// WithDefaults returns the spec with every field that was not given filled in.
// Afterwards no pointer is nil but Probe.Interval, whose absence has a meaning.
func (s Spec) WithDefaults() Spec {
	s.Umask = or(s.Umask, "022")
	s.Instances = ptrOr(s.Instances, 1)
	s.Listen.Mode = or(s.Listen.Mode, ListenPort)
	s.Start.When = or(s.Start.When, defaultStart(s.Listen.Mode))
	s.Start.Timeout = ptrOr(s.Start.Timeout, 120*time.Second)
	s.Ready.Timeout = ptrOr(s.Ready.Timeout, 2*time.Second)
	s.Ready.HTTP = s.Ready.httpDefaults()
	s.Stop.Signal = or(s.Stop.Signal, "SIGTERM")
	s.Stop.Timeout = ptrOr(s.Stop.Timeout, 10*time.Second)
	s.Stop.Drain = ptrOr(s.Stop.Drain, 30*time.Second)
	s.Restart.When = or(s.Restart.When, RestartAlways)
	s.Restart.RapidFailsPerMinute = ptrOr(s.Restart.RapidFailsPerMinute, 10)
	s.Restart.Backoff = ptrOr(s.Restart.Backoff, 100*time.Millisecond)
	s.Restart.MaxBackoff = ptrOr(s.Restart.MaxBackoff, max(5*time.Second, *s.Restart.Backoff))
	s.Recycle.Overlap = ptrOr(s.Recycle.Overlap, true)
	s.Recycle.MinReady = ptrOr(s.Recycle.MinReady, 2*time.Second)
	s.Restart.OnRapidFail = or(s.Restart.OnRapidFail, RapidFailWait)
	s.Recycle.Settle = ptrOr(s.Recycle.Settle, time.Second)
	s.Logs.MaxSize = or(s.Logs.MaxSize, 10<<20)
	s.Logs.MaxFiles = ptrOr(s.Logs.MaxFiles, 5)
	s.Logs.WhenFull = or(s.Logs.WhenFull, FullDropOldest)
	if s.Health != nil {
		s.Health = new(s.Health.withDefaults())
	}
	s.Requests.Timeout = ptrOr(s.Requests.Timeout, 2*time.Minute)
	s.Requests.Queue = ptrOr(s.Requests.Queue, 1000)
	s.Requests.QueueTimeout = ptrOr(s.Requests.QueueTimeout, min(max(*s.Start.Timeout, 0), maxDuration-queueMargin)+queueMargin)
	s.Requests.WebSockets = or(s.Requests.WebSockets, WebSocketsDrain)
	s.Routes = slices.Clone(s.Routes)
	for i := range s.Routes {
		s.Routes[i].Host = strings.ToLower(s.Routes[i].Host)
		s.Routes[i].Path = or(s.Routes[i].Path, "/")
	}
	return s
}

// httpDefaults completes the check of a probe of kind http.
func (p Probe) httpDefaults() HTTPCheck {
	if p.Kind == ProbeHTTP {
		p.HTTP.Path = or(p.HTTP.Path, "/")
		p.HTTP.Status = or(p.HTTP.Status, "200-399")
	}
	return p.HTTP
}

func (h Health) withDefaults() Health {
	h.Probe.Interval = ptrOr(h.Probe.Interval, 10*time.Second)
	h.Probe.Timeout = ptrOr(h.Probe.Timeout, 2*time.Second)
	h.Probe.HTTP = h.Probe.httpDefaults()
	h.Failures = ptrOr(h.Failures, 3)
	return h
}

// queueMargin is how much longer a request may wait than an app may start.
const queueMargin = 10 * time.Second

func defaultStart(m ListenMode) StartWhen {
	if m == ListenNone {
		return StartOnBoot
	}
	return StartOnRequest
}

// PathBase is the path the app is reached under: its first route's, "/" where
// it has none.
func (s Spec) PathBase() string {
	if len(s.Routes) == 0 {
		return "/"
	}
	return or(s.Routes[0].Path, "/")
}

// DetailedErrors tells whether the app asks, by its own environment, for error
// pages that show its output.
func (s Spec) DetailedErrors() bool {
	return s.Env["ROOST_DETAILED_ERRORS"] == "1" ||
		strings.EqualFold(s.Env["ASPNETCORE_ENVIRONMENT"], "Development")
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func ptrOr[T any](p *T, otherwise T) *T {
	if p == nil {
		return &otherwise
	}
	return p
}
