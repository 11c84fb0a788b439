package api

import (
	"context"

	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/logs"
	"github.com/roostd/roost/daemon/internal/watch"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Logs is what LogService needs of the log store.
type Logs interface {
	Read(ctx context.Context, q logs.Query, emit func([]logs.Entry) error, caughtUp func() error) error
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
	if _, err := findApp(s.Apps.Apps(), req.GetApp()); err != nil {
		return err
	}
	q := logs.Query{
		App: req.GetApp(), Instance: req.GetInstance(), Stream: logStreams[req.GetStream()],
		Since: timeFrom(req.GetSince()), Cursor: req.GetCursor(), Follow: req.GetFollow(),
	}
	if q.Stream == "" && req.GetStream() != roostv1.LogStream_LOG_STREAM_UNSPECIFIED {
		return app.Errorf(app.Invalid, app.ReasonInvalidArgument, req.GetApp(), "stream %v is not known to this daemon", req.GetStream())
	}
	var err error
	if q.Tail, err = tailFrom(req.Tail); err != nil {
		return err
	}
	return relay[[]logs.Entry]{
		read: func(ctx context.Context, emit func([]logs.Entry) error, caughtUp func() error) error {
			return s.Logs.Read(ctx, q, emit, caughtUp)
		},
		send: func(list []logs.Entry) error { return sendEntries(list, stream.Send) },
		caughtUp: func() error {
			return stream.Send(&roostv1.ReadLogsResponse{Message: &roostv1.ReadLogsResponse_CaughtUp{CaughtUp: &roostv1.LogCaughtUp{}}})
		},
		beat: func() error {
			return stream.Send(&roostv1.ReadLogsResponse{Message: &roostv1.ReadLogsResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}})
		},
	}.serve(stream.Context())
}

// sendEntries sends entries in order, and between them what is missing.
func sendEntries(list []logs.Entry, send func(*roostv1.ReadLogsResponse) error) error {
	for len(list) > 0 {
		if missed := list[0].Missed; missed > 0 {
			dropped := &roostv1.LogDropped{Bytes: missed}
			if err := send(&roostv1.ReadLogsResponse{Message: &roostv1.ReadLogsResponse_Dropped{Dropped: dropped}}); err != nil {
				return err
			}
		}
		batch := &roostv1.LogBatch{Entries: []*roostv1.LogEntry{entryTo(list[0])}}
		list = list[1:]
		for len(list) > 0 && list[0].Missed == 0 {
			batch.Entries, list = append(batch.Entries, entryTo(list[0])), list[1:]
		}
		if err := send(&roostv1.ReadLogsResponse{Message: &roostv1.ReadLogsResponse_Batch{Batch: batch}}); err != nil {
			return err
		}
	}
	return nil
}

func entryTo(e logs.Entry) *roostv1.LogEntry {
	return &roostv1.LogEntry{
		Time: timeTo(e.Time), App: e.App, Instance: e.Instance, Stream: choiceTo(logStreams, e.Stream),
		Data: e.Data, Partial: e.Partial, Cursor: e.Cursor,
	}
}

// tailFrom translates how many entries before the end to begin; nil is all.
func tailFrom(p *int32) (*int, error) {
	if p != nil && *p < 0 {
		return nil, app.Errorf(app.Invalid, app.ReasonInvalidArgument, "", "tail %d: it cannot be below 0", *p)
	}
	return intFrom(p), nil
}
