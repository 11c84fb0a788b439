package api

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// orNil leaves out a message that says nothing.
func orNil[M proto.Message](m M) M {
	if proto.Size(m) == 0 {
		var none M
		return none
	}
	return m
}

func intFrom(p *int32) *int {
	if p == nil {
		return nil
	}
	return new(int(*p))
}

func intTo(p *int) *int32 {
	if p == nil {
		return nil
	}
	return new(int32(*p))
}

func durationTo(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

// timeTo leaves out the zero time.
func timeTo(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// timeFrom is the zero time where none is given.
func timeFrom(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.AsTime()
}

// valid makes a text one that a message may hold. The names of files and of others'
// programs, and what an app answers a probe, may be no UTF-8: one such text, shown of
// one app, would fail the whole answer to everybody.
func valid(s string) string { return strings.ToValidUTF8(s, string(utf8.RuneError)) }

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
