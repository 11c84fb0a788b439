package api

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/logs"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestReadLogs_HistoryThenLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		h.apps.Set("web", testApp("web"))
		var asked logs.Query
		more := make(chan string)
		h.logs.read = func(ctx context.Context, q logs.Query, to logs.Sink[[]logs.Entry]) error {
			asked = q
			if err := to.Emit([]logs.Entry{{App: "web", Instance: "i1", Stream: logs.Stderr, Data: []byte("one\n"), Cursor: "c1"}}); err != nil {
				return err
			}
			if err := to.CaughtUp("c1"); err != nil {
				return err
			}
			for {
				select {
				case line := <-more:
					if err := to.Emit([]logs.Entry{{Data: []byte(line), Partial: true}}); err != nil {
						return err
					}
					to.Passed("c3")
				case <-q.Removed:
					return app.Errorf(app.NotFound, app.ReasonAppNotFound, "web", "app web was removed")
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := roostv1.NewLogServiceClient(h.dial(t, operator)).ReadLogs(ctx, &roostv1.ReadLogsRequest{
			App: "web", Instance: "i1", Stream: roostv1.LogStream_LOG_STREAM_STDERR, Tail: new(int32(5)), Cursor: "c0", Follow: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		next := func() *roostv1.ReadLogsResponse {
			t.Helper()
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		e := next().GetBatch().GetEntries()[0]
		if string(e.Data) != "one\n" || e.Stream != roostv1.LogStream_LOG_STREAM_STDERR || e.Cursor != "c1" || e.Instance != "i1" {
			t.Errorf("entry %v", e)
		}
		if m := next(); m.GetCaughtUp() == nil || m.GetCursor() != "c1" {
			t.Errorf("it has not caught up: %v", m)
		}
		if asked.App != "web" || asked.Instance != "i1" || asked.Stream != logs.Stderr || *asked.Tail != 5 || asked.Cursor != "c0" || !asked.Follow {
			t.Errorf("asked %+v", asked)
		}
		start := time.Now()
		if m := next(); m.GetHeartbeat() == nil || m.GetCursor() != "" || time.Since(start) != heartbeatEvery {
			t.Errorf("no heartbeat after %v: %v", time.Since(start), m)
		}
		more <- "two"
		if e := next().GetBatch().GetEntries()[0]; string(e.Data) != "two" || !e.Partial {
			t.Errorf("entry %v", e)
		}
		if m := next(); m.GetHeartbeat() == nil || m.GetCursor() != "c3" {
			t.Errorf("the heartbeat does not say how far reading has come: %v", m)
		}
		h.apps.Set("api", testApp("api"))
		h.apps.Delete("api")
		h.apps.Delete("web")
		if _, err := stream.Recv(); status.Code(err) != codes.NotFound {
			t.Errorf("of a removed app: %v", err)
		}
	})
}

func TestReadLogs_Refusals(t *testing.T) {
	h := newHost(t).open()
	h.apps.Set("web", testApp("web"))
	h.logs.read = func(_ context.Context, q logs.Query, _ logs.Sink[[]logs.Entry]) error {
		if q.Lossless {
			f := app.Errorf(app.Exhausted, app.ReasonReaderTooSlow, "web", "too slow")
			f.Cursor = "c7"
			return f
		}
		return app.Errorf(app.OutOfRange, app.ReasonCursorGone, "web", "gone")
	}
	read := func(req *roostv1.ReadLogsRequest) error {
		stream, err := roostv1.NewLogServiceClient(h.dial(t, operator)).ReadLogs(t.Context(), req)
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for name, tt := range map[string]struct {
		req  *roostv1.ReadLogsRequest
		want codes.Code
	}{
		"an unknown app":    {&roostv1.ReadLogsRequest{App: "api"}, codes.NotFound},
		"a cursor gone":     {&roostv1.ReadLogsRequest{App: "web", Cursor: "x"}, codes.OutOfRange},
		"a tail below zero": {&roostv1.ReadLogsRequest{App: "web", Tail: new(int32(-1))}, codes.InvalidArgument},
		"no generation":     {&roostv1.ReadLogsRequest{App: "web", Generation: -1}, codes.InvalidArgument},
		"no stream":         {&roostv1.ReadLogsRequest{App: "web", Stream: 9}, codes.InvalidArgument},
		"a slow reader":     {&roostv1.ReadLogsRequest{App: "web", Lossless: true}, codes.ResourceExhausted},
	} {
		err := read(tt.req)
		if status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if tt.want == codes.InvalidArgument && len(fieldsOf(err)) != 1 {
			t.Errorf("%s: it names the fields %q", name, fieldsOf(err))
		}
		if tt.want == codes.ResourceExhausted && metadataOf(err)["cursor"] != "c7" {
			t.Errorf("%s: its metadata are %v", name, metadataOf(err))
		}
	}
}

func TestReadEvents_EndsWithHistory(t *testing.T) {
	h := newHost(t).open()
	h.logs.events = func(_ context.Context, q logs.EventQuery, to logs.Sink[logs.EventEntry]) error {
		if q.Severity != app.Warning || q.Grep != "it" {
			t.Errorf("asked %+v", q)
		}
		gap := logs.EventEntry{Gap: true, Missed: 4, Event: app.Event{Cursor: "b"}}
		return errors.Join(to.Emit(gap), to.Emit(logs.EventEntry{Event: app.Event{
			ID: app.EventStartFailed, App: q.App, Instance: "i1", Actor: "roostd", Severity: app.Error,
			Message: "it exited", Cursor: "c", Attributes: map[string]string{"code": "3"},
		}}))
	}
	stream, err := roostv1.NewEventServiceClient(h.dial(t, operator)).ReadEvents(t.Context(), &roostv1.ReadEventsRequest{
		App: "web", Severity: roostv1.EventSeverity_EVENT_SEVERITY_WARNING, Grep: "it",
	})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetDropped().GetEvents() != 4 || m.GetCursor() != "b" {
		t.Errorf("the gap is %v, %v", m, err)
	}
	m, err := stream.Recv()
	if e := m.GetEvent(); err != nil || e.Id != "StartFailed" || e.App != "web" || e.Severity != roostv1.EventSeverity_EVENT_SEVERITY_ERROR ||
		e.Attributes["code"] != "3" || e.Actor != "roostd" || e.Cursor != "c" {
		t.Errorf("got %v, %v", m, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v", err)
	}
}

// A client that takes nothing holds up its own reader only, and the reader has
// ended when the call has.
func TestRelay_TheReaderEndsWithTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		ended := false
		r := relay[int]{
			read: func(ctx context.Context, to logs.Sink[int]) error {
				defer func() { ended = true }()
				for i := 0; ; i++ {
					if err := to.Emit(i); err != nil {
						<-ctx.Done()
						return err
					}
				}
			},
			send: func(n int) error {
				if n == 3 {
					return gone
				}
				return nil
			},
		}
		if err := r.serve(t.Context()); !errors.Is(err, gone) || !ended {
			t.Errorf("got %v, the reader has ended: %v", err, ended)
		}
	})
}
