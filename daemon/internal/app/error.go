package app

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Kind is what went wrong, for whoever must choose a status code.
type Kind int

// The kinds of errors. Unknown errors are Internal.
const (
	Internal    Kind = iota
	Invalid          // a faulty argument or spec
	NotFound         // no such app, instance, generation, rollout
	Conflict         // with another app: a route, a fixed port
	Stale            // an etag that no longer matches
	WrongState       // the app's state forbids it
	Denied           // not allowed
	Exhausted        // a limit is reached
	Unavailable      // not now: shutting down, a failed start
	OutOfRange       // a cursor of another daemon's state
	Timeout          // it took too long
)

// Reason is the machine-readable cause, UPPER_SNAKE, of google.rpc.ErrorInfo.
type Reason string

// The reasons.
const (
	ReasonInvalidSpec     Reason = "INVALID_SPEC"
	ReasonInvalidArgument Reason = "INVALID_ARGUMENT"
	ReasonAppNotFound     Reason = "APP_NOT_FOUND"
	ReasonNotFound        Reason = "NOT_FOUND"
	ReasonRouteConflict   Reason = "ROUTE_CONFLICT"
	ReasonPortConflict    Reason = "PORT_CONFLICT"
	ReasonEtagMismatch    Reason = "ETAG_MISMATCH"
	ReasonAppStopped      Reason = "APP_STOPPED"
	ReasonAppOffline      Reason = "APP_OFFLINE"
	ReasonAppManual       Reason = "APP_MANUAL"
	ReasonStartFailed     Reason = "START_FAILED"
	ReasonStartTimeout    Reason = "START_TIMEOUT"
	ReasonRapidFail       Reason = "RAPID_FAIL"
	ReasonShuttingDown    Reason = "SHUTTING_DOWN"
	ReasonCursorGone      Reason = "CURSOR_GONE"
	ReasonReaderTooSlow   Reason = "READER_TOO_SLOW"
	ReasonPermission      Reason = "PERMISSION_DENIED"
	ReasonInternal        Reason = "INTERNAL"
)

// Violation is a fault of one field; Field is the path as in the manifest, such
// as apps.web.listen.port.
type Violation struct {
	Field   string
	Message string
}

// Fault is the one error type that crosses package borders with a meaning.
type Fault struct {
	Kind       Kind
	Reason     Reason
	App        string
	Message    string // public: which thing, why, what to do
	Detail     string // output of the app; only for those who may see it
	Violations []Violation
	RetryTime  time.Time // when trying again makes sense; zero: unknown
	Revision   uint64    // of the endpoint set it was true for; 0: none
	Cursor     string    // to go on reading from; "" for none
	Err        error
}

func (e *Fault) Error() string {
	switch {
	case e.Message != "":
		return e.Message
	case len(e.Violations) > 0:
		return fmt.Sprintf("%s: %s", e.Violations[0].Field, e.Violations[0].Message)
	case e.Err != nil:
		return e.Err.Error()
	}
	return string(e.Reason)
}

func (e *Fault) Unwrap() error { return e.Err }

// KindOf returns the kind of err, Internal where it has none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Fault](err); ok {
		return e.Kind
	}
	return Internal
}

// NoSuchApp is the fault of a call that names an app which does not exist.
func NoSuchApp(name string) *Fault {
	shown := name
	if !ValidName(name) {
		shown = strconv.Quote(name)
	}
	return Errorf(NotFound, ReasonAppNotFound, name, "there is no app %s: see roostctl ls", shown)
}

// Errorf makes an error of a kind with a public message.
func Errorf(k Kind, r Reason, app, format string, args ...any) *Fault {
	return &Fault{Kind: k, Reason: r, App: app, Message: fmt.Sprintf(format, args...)}
}
