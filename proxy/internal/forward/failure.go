package forward

import (
	"time"

	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/backend"
)

// The codes that this package answers with; the list of all is closed. Those
// about starts come from the activator.
const (
	codeNoRoute          = "no-route"
	codeBackendLost      = "backend-lost"
	codeBackendTimeout   = "backend-timeout"
	codeBadRequest       = "bad-request"
	codeMethodNotAllowed = "method-not-allowed"
	codeBodyTooLarge     = "body-too-large"
	codeHeadTooLarge     = "head-too-large"
	codeShuttingDown     = "shutting-down"
	codeUnreachable      = "daemon-unreachable"
	codeOffline          = "offline"
	// codeClientGone is for the log only.
	codeClientGone = "client-gone"
)

const statusClientGone = 499

// answer is what a code looks like from outside.
type answer struct {
	status int
	title  string
	text   string // what it means and what the reader can do
	waits  bool   // asking again later may help
	closes bool   // the connection cannot be used any more
}

var answers = map[string]answer{
	codeNoRoute:          {404, "Not Found", "No app is registered for this address.", false, false},
	"queue-full":         {503, "Service Unavailable", "Too many requests are waiting for this app to start. Please try again in a moment.", true, false},
	codeOffline:          {503, "Service Unavailable", "This app is offline for maintenance.", true, false},
	"stopped":            {503, "Service Unavailable", "This app is stopped.", false, false},
	codeUnreachable:      {503, "Service Unavailable", "This app is not running and cannot be started right now. Please try again in a moment.", true, false},
	codeShuttingDown:     {503, "Service Unavailable", "The server is shutting down. Please try again in a moment.", true, true},
	"start-failed":       {502, "Bad Gateway", "This app could not be started.", true, false},
	"start-timeout":      {502, "Bad Gateway", "This app did not become ready in time.", true, false},
	"rapid-fail":         {502, "Bad Gateway", "This app failed too often and is not started again for a while.", true, false},
	codeBackendLost:      {502, "Bad Gateway", "This app closed the connection without a proper answer.", false, false},
	"queue-timeout":      {504, "Gateway Timeout", "This app took too long to start.", false, false},
	codeBackendTimeout:   {504, "Gateway Timeout", "This app took too long to answer.", false, false},
	codeBadRequest:       {400, "Bad Request", "The request is not valid HTTP.", false, true},
	codeMethodNotAllowed: {405, "Method Not Allowed", "This method is not supported.", false, false},
	codeBodyTooLarge:     {413, "Content Too Large", "The request's body is larger than this app accepts.", false, true},
	codeHeadTooLarge:     {431, "Request Header Fields Too Large", "The request's head is too large.", false, true},
}

// failure is an answer that the proxy gives itself.
type failure struct {
	code string
	// reason is for the log, and for pages of apps in development.
	reason string
	// detail is an app's output or a daemon's reason; likewise.
	detail  string
	retryAt time.Time
	// offline is the page of an app that is out of service; nil: a page of ours.
	offline *backend.Offline
}

// noRoute is the answer to a request that no route leads anywhere. Where the
// routes were never told it is not known to be wrong.
func (s *Server) noRoute() *failure {
	if s.cfg.Blind != nil && s.cfg.Blind() {
		return &failure{code: codeUnreachable, reason: "no daemon has told the routes yet"}
	}
	return &failure{code: codeNoRoute, reason: "no route for this host and path"}
}

// failed makes a failure of what a Waiter returned.
func failed(f *activator.Failure) *failure {
	return &failure{code: f.Code, reason: f.Message, detail: f.Detail, retryAt: f.RetryAt}
}

// outOfService is the answer of an app that is offline.
func outOfService(o *backend.Offline) *failure {
	f := &failure{code: codeOffline, reason: "the app is offline"}
	if o != nil && !o.BuiltIn {
		f.offline = o
	}
	return f
}

// look returns the answer to a code. An unknown one, from a newer daemon, is a
// start that failed.
func look(code string) answer {
	a, ok := answers[code]
	if !ok {
		return answers["start-failed"]
	}
	return a
}

// retryAfter is the Retry-After in whole seconds, at least 1; 0 for none.
func (f *failure) retryAfter(now time.Time) int {
	switch {
	case !f.retryAt.IsZero():
		return max(1, int((f.retryAt.Sub(now)+time.Second-1)/time.Second))
	case look(f.code).waits && look(f.code).status == 503:
		return 1
	}
	return 0
}
