package activator

import "time"

// The codes of a Failure that this package gives out; those of a refused start
// are the daemon's and come through Starter.
const (
	codeQueueFull    = "queue-full"
	codeQueueTimeout = "queue-timeout"
	codeNoRoute      = "no-route"
	codeBackendLost  = "backend-lost"
	codeUnreachable  = "daemon-unreachable"
	codeShuttingDown = "shutting-down"
	codeOffline      = "offline"
)

// Failure says why a request gets no endpoint. It is shared by all requests that
// waited for the same start: nobody changes it.
type Failure struct {
	// Code is the Roost-Error that the client is answered with.
	Code string
	// Message is for anybody.
	Message string
	// Detail is the app's output or the daemon's reason, for pages of apps in
	// development only.
	Detail string
	// RetryAt is when asking again may help. Zero: nobody knows.
	RetryAt time.Time
	// Epoch and Revision are of the app's set that the daemon refused from. A
	// newer set makes the refusal void.
	Epoch, Revision uint64
}

// Error returns the code and what may be said to anybody.
func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// holds reports whether a refusal still answers for a pool whose set is of epoch
// and revision.
func (f *Failure) holds(epoch, revision uint64, now time.Time) bool {
	newer := epoch != f.Epoch || revision > f.Revision
	return !newer && (f.RetryAt.IsZero() || now.Before(f.RetryAt))
}

// retryAfter is the hint where waiting helps but nobody knows how long.
const retryAfter = time.Second

func queueFull() *Failure {
	return &Failure{Code: codeQueueFull, Message: "too many requests wait for this app to start", RetryAt: time.Now().Add(retryAfter)}
}

func queueTimeout() *Failure {
	return &Failure{Code: codeQueueTimeout, Message: "the app did not start in the time that a request may wait"}
}

func noRoute() *Failure {
	return &Failure{Code: codeNoRoute, Message: "the app was removed"}
}

func offline() *Failure {
	return &Failure{Code: codeOffline, Message: "the app is offline"}
}

func backendLost() *Failure {
	return &Failure{Code: codeBackendLost, Message: "the app was started and could not be reached"}
}

func unreachable() *Failure {
	return &Failure{Code: codeUnreachable, Message: "the app is not running and cannot be started at the moment", RetryAt: time.Now().Add(retryAfter)}
}

func shuttingDown() *Failure {
	return &Failure{Code: codeShuttingDown, Message: "the server is shutting down", RetryAt: time.Now().Add(retryAfter)}
}
