package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/ctl/internal/render"
	"github.com/roostd/roost/internal/rpc"
)

// The exit codes.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2 // or a bad manifest
	exitNotFound     = 3
	exitNotPermitted = 4
	exitConflict     = 5
	exitTimeout      = 6
	exitUnreachable  = 7
)

// failure is an error with an exit code of its own.
type failure struct {
	code   int
	err    error
	detail string // shown below the error's line, such as an app's output
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func failed(code int, format string, args ...any) error {
	return &failure{code: code, err: fmt.Errorf(format, args...)}
}

// report prints an error in one line and returns the exit code.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	code, message := p.explain(err)
	fmt.Fprintf(p.Stderr, "roostctl: %s\n", render.Clean(message))
	if f, ok := errors.AsType[*failure](err); ok && f.detail != "" {
		fmt.Fprint(p.Stderr, f.detail)
	}
	return code
}

// explain returns the exit code and the message of an error.
func (p *program) explain(err error) (int, string) {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code, f.Error()
	}
	if p.conn != nil {
		err = rpc.Explain(p.daemon(), err)
	}
	if u, ok := errors.AsType[*rpc.UnreachableError](err); ok {
		return exitUnreachable, u.Error()
	}
	switch {
	case errors.Is(err, errTimedOut):
		return exitTimeout, err.Error()
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitFailed, errInterrupted.Error()
	}
	s, ok := status.FromError(err)
	if !ok {
		return exitFailed, err.Error()
	}
	return exitOf(s.Code()), statusMessage(s)
}

// exitOf is the one table from a status of gRPC to an exit code.
func exitOf(c codes.Code) int {
	switch c {
	case codes.OK:
		return exitOK
	case codes.InvalidArgument:
		return exitUsage
	case codes.NotFound:
		return exitNotFound
	case codes.PermissionDenied, codes.Unauthenticated:
		return exitNotPermitted
	case codes.Aborted, codes.AlreadyExists, codes.FailedPrecondition:
		return exitConflict
	case codes.DeadlineExceeded:
		return exitTimeout
	default:
		return exitFailed
	}
}

// statusMessage is what the daemon says, with its violations where there are
// more than the message names.
func statusMessage(s *status.Status) string {
	switch s.Code() {
	case codes.Canceled:
		return errInterrupted.Error()
	case codes.DeadlineExceeded:
		return errTimedOut.Error()
	case codes.Unimplemented:
		return "this daemon does not know the command: it is of another version, see roostctl info (" + s.Message() + ")"
	default:
	}
	parts := []string{s.Message()}
	for _, v := range violations(s) {
		if one := v.field + ": " + v.message; !strings.Contains(s.Message(), v.message) {
			parts = append(parts, one)
		}
	}
	return strings.Join(parts, "; ")
}

// violation is the daemon's word on a field.
type violation struct{ field, message string }

// violations are those of a refusal, each once: a conflict is told both as a bad
// request and as a failed precondition.
func violations(s *status.Status) []violation {
	var list []violation
	add := func(v violation) {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				add(violation{v.GetField(), v.GetDescription()})
			}
		case *errdetails.PreconditionFailure:
			for _, v := range d.GetViolations() {
				add(violation{v.GetSubject(), v.GetDescription()})
			}
		}
	}
	return list
}

// cause returns why ctx ended instead of err, where it has and err says no more
// than that.
func cause(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*failure](err); ok || err == nil || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// timedOut reports whether err is a deadline's, by our clock or by gRPC's, which
// may be a moment ahead.
func timedOut(err error) bool {
	return errors.Is(err, errTimedOut) || status.Code(err) == codes.DeadlineExceeded
}
