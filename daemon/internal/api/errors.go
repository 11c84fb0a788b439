package api

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/roostd/roost/daemon/internal/app"
)

// errorDomain is the domain of every google.rpc.ErrorInfo.
const errorDomain = "roost"

// codeOf is the only place where a kind of error becomes a code.
var codeOf = map[app.Kind]codes.Code{
	app.Internal:    codes.Internal,
	app.Invalid:     codes.InvalidArgument,
	app.NotFound:    codes.NotFound,
	app.Conflict:    codes.FailedPrecondition,
	app.Stale:       codes.Aborted,
	app.WrongState:  codes.FailedPrecondition,
	app.Denied:      codes.PermissionDenied,
	app.Exhausted:   codes.ResourceExhausted,
	app.Unavailable: codes.Unavailable,
	app.OutOfRange:  codes.OutOfRange,
	app.Timeout:     codes.DeadlineExceeded,
}

// hidden is all that a client is told of an error nobody foresaw.
const hidden = "something went wrong inside the daemon: its log says what"

// refusal is a fault with more metadata for a program.
type refusal struct {
	*app.Fault
	metadata map[string]string
}

// Unwrap returns the fault.
func (r *refusal) Unwrap() error { return r.Fault }

// toStatus translates what a call ended with into what its client sees. Internal
// tells that there is more to it, which stays inside.
func toStatus(ctx context.Context, err error) (s *status.Status, internal bool) {
	if fault, ok := errors.AsType[*app.Fault](err); ok && (fault.Kind != app.Internal || fault.Message != "") {
		r, _ := errors.AsType[*refusal](err)
		return faultTo(fault, r), fault.Kind == app.Internal
	}
	// A wrapped status is of a call that the daemon made itself, to its keeper.
	if own, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return own.GRPCStatus(), false
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()), false
	}
	s = status.New(codes.Internal, hidden)
	return with(s, &errdetails.ErrorInfo{Reason: string(app.ReasonInternal), Domain: errorDomain}), true
}

// faultTo translates a fault; r, which may be nil, adds to it.
func faultTo(f *app.Fault, r *refusal) *status.Status {
	info := &errdetails.ErrorInfo{Reason: string(f.Reason), Domain: errorDomain, Metadata: map[string]string{}}
	if f.App != "" {
		info.Metadata["app"] = f.App
	}
	if f.Revision != 0 {
		info.Metadata["revision"] = strconv.FormatUint(f.Revision, 10)
	}
	if f.Cursor != "" {
		info.Metadata["cursor"] = f.Cursor
	}
	if r != nil {
		maps.Copy(info.Metadata, r.metadata)
	}
	details := []protoadapt.MessageV1{info}
	if len(f.Violations) > 0 {
		details = append(details, badRequest(f.Violations))
	}
	if p := precondition(f); p != nil {
		details = append(details, p)
	}
	if !f.RetryTime.IsZero() {
		delay := max(0, time.Until(f.RetryTime))
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	}
	return with(status.New(codeOf[f.Kind], valid(f.Error())), details...)
}

func badRequest(list []app.Violation) *errdetails.BadRequest {
	b := &errdetails.BadRequest{}
	for _, v := range list {
		b.FieldViolations = append(b.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: valid(v.Message)})
	}
	return b
}

// precondition names what must be otherwise first: each field of a conflict, or
// the app whose state forbids it.
func precondition(f *app.Fault) *errdetails.PreconditionFailure {
	if f.Kind != app.Conflict && f.Kind != app.WrongState {
		return nil
	}
	p := &errdetails.PreconditionFailure{}
	for _, v := range f.Violations {
		p.Violations = append(p.Violations, &errdetails.PreconditionFailure_Violation{
			Type: string(f.Reason), Subject: v.Field, Description: valid(v.Message),
		})
	}
	if len(p.Violations) == 0 {
		p.Violations = []*errdetails.PreconditionFailure_Violation{{
			Type: string(f.Reason), Subject: f.App, Description: valid(f.Error()),
		}}
	}
	return p
}

// with adds details; those that cannot be encoded are left out.
func with(s *status.Status, details ...protoadapt.MessageV1) *status.Status {
	if detailed, err := s.WithDetails(details...); err == nil {
		return detailed
	}
	return s
}
