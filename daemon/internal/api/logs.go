package api

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/logs"
	"github.com/roostd/roost/daemon/internal/watch"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Logs is what LogService needs of the log store.
type Logs interface {
	Read(ctx context.Context, q logs.Query, to logs.Sink[[]logs.Entry]) error
}

// LogService hands out what apps wrote.
type LogService struct {
	roostv1.UnimplementedLogServiceServer
	Apps interface {
		Apps() *watch.Hub[string, app.App]
	}
	Logs Logs
}

var logStreams = map[roostv1.LogStream]string{
	roostv1.LogStream_LOG_STREAM_STDOUT: logs.Stdout,
	roostv1.LogStream_LOG_STREAM_STDERR: logs.Stderr,
}

// ReadLogs streams history and then, with follow, what comes. The client is told
// something at once: that it has caught up, at the latest.
func (s *LogService) ReadLogs(req *roostv1.ReadLogsRequest, stream grpc.ServerStreamingServer[roostv1.ReadLogsResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	var removed chan struct{}
	if req.GetFollow() { // watched before it is looked for, so that no removal is missed
		removed = make(chan struct{})
		watcher, _ := s.Apps.Apps().Watch()
		defer watcher.Stop()
		waiting.Go(func() {
			if awaitRemoval(ctx, watcher, req.GetApp()) {
				close(removed)
			}
		})
	}
	if _, err := findApp(s.Apps.Apps(), req.GetApp()); err != nil {
		return err
	}
	q, err := logQuery(req)
	if err != nil {
		return err
	}
	q.Removed = removed
	r := relay[[]logs.Entry]{
		read: func(ctx context.Context, to logs.Sink[[]logs.Entry]) error { return s.Logs.Read(ctx, q, to) },
		send: func(list []logs.Entry) error { return sendEntries(list, stream.Send) },
		caughtUp: func(cursor string) error {
			m := &roostv1.ReadLogsResponse_CaughtUp{CaughtUp: &roostv1.LogCaughtUp{}}
			return stream.Send(&roostv1.ReadLogsResponse{Message: m, Cursor: cursor})
		},
		beat: func(cursor string) error {
			m := &roostv1.ReadLogsResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}
			return stream.Send(&roostv1.ReadLogsResponse{Message: m, Cursor: cursor})
		},
	}
	return r.serve(ctx)
}

// logQuery translates what is asked for.
func logQuery(req *roostv1.ReadLogsRequest) (q logs.Query, err error) {
	q = logs.Query{
		App: req.GetApp(), Instance: req.GetInstance(), Generation: req.GetGeneration(), Stream: logStreams[req.GetStream()],
		Since: timeFrom(req.GetSince()), Until: timeFrom(req.GetUntil()), Grep: req.GetGrep(),
		Cursor: req.GetCursor(), Follow: req.GetFollow(), Lossless: req.GetLossless(),
	}
	if q.Stream == "" && req.GetStream() != roostv1.LogStream_LOG_STREAM_UNSPECIFIED {
		return q, invalidField(q.App, "stream", "stream %v is not known to this daemon", req.GetStream())
	}
	if q.Generation < 0 {
		return q, invalidField(q.App, "generation", "generation %d: it cannot be below 0", q.Generation)
	}
	q.Tail, err = tailFrom(req.Tail)
	return q, err
}

// awaitRemoval waits until an app is removed: false where ctx ends before.
func awaitRemoval(ctx context.Context, w *watch.Watcher[string, app.App], name string) bool {
	for {
		_, removed, err := w.Next(ctx)
		if err != nil || slices.Contains(removed, name) {
			return err == nil
		}
	}
}

// sendEntries sends entries in order, and between them what is missing.
func sendEntries(list []logs.Entry, send func(*roostv1.ReadLogsResponse) error) error {
	for len(list) > 0 {
		resp := &roostv1.ReadLogsResponse{}
		if e := list[0]; e.Gap {
			dropped := &roostv1.LogDropped{Bytes: e.Missed, Instance: e.Instance, Stream: streamTo(e.Stream)}
			resp.Message, resp.Cursor = &roostv1.ReadLogsResponse_Dropped{Dropped: dropped}, e.Cursor
			list = list[1:]
		} else {
			n := slices.IndexFunc(list, func(e logs.Entry) bool { return e.Gap })
			if n < 0 {
				n = len(list)
			}
			resp.Message, resp.Cursor = &roostv1.ReadLogsResponse_Batch{Batch: batchTo(list[:n])}, list[n-1].Cursor
			list = list[n:]
		}
		if err := send(resp); err != nil {
			return err
		}
	}
	return nil
}

func batchTo(list []logs.Entry) *roostv1.LogBatch {
	b := &roostv1.LogBatch{Entries: make([]*roostv1.LogEntry, len(list))}
	all := make([]roostv1.LogEntry, len(list)) // one allocation, not one a line
	var when *timestamppb.Timestamp
	for i := range list {
		e, p := &list[i], &all[i]
		if i == 0 || !e.Time.Equal(list[i-1].Time) {
			when = timeTo(e.Time)
		}
		p.Time, p.App, p.Instance, p.Stream = when, e.App, e.Instance, streamTo(e.Stream)
		p.Data, p.Partial, p.Cursor = e.Data, e.Partial, e.Cursor
		b.Entries[i] = p
	}
	return b
}

func streamTo(name string) roostv1.LogStream {
	if name == logs.Stderr {
		return roostv1.LogStream_LOG_STREAM_STDERR
	}
	return roostv1.LogStream_LOG_STREAM_STDOUT
}

// tailFrom translates how many entries before the end to begin; nil is all.
func tailFrom(p *int32) (*int, error) {
	if p != nil && *p < 0 {
		return nil, invalidField("", "tail", "tail %d: it cannot be below 0", *p)
	}
	return intFrom(p), nil
}

// invalidField is the fault of a call whose field is not what it must be.
func invalidField(name, field, format string, args ...any) error {
	f := app.Errorf(app.Invalid, app.ReasonInvalidArgument, name, format, args...)
	f.Violations = []app.Violation{{Field: field, Message: f.Message}}
	return f
}
