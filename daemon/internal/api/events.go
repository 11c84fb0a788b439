package api

import (
	"context"

	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/logs"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Events is what EventService needs of the event log.
type Events interface {
	ReadEvents(ctx context.Context, q logs.EventQuery, to logs.Sink[logs.EventEntry]) error
}

// EventService hands out what happened.
type EventService struct {
	roostv1.UnimplementedEventServiceServer
	Events Events
}

// ReadEvents streams history and then, with follow, what comes.
func (s *EventService) ReadEvents(req *roostv1.ReadEventsRequest, stream grpc.ServerStreamingServer[roostv1.ReadEventsResponse]) error {
	q, err := eventQuery(req)
	if err != nil {
		return err
	}
	r := relay[logs.EventEntry]{
		read: func(ctx context.Context, to logs.Sink[logs.EventEntry]) error { return s.Events.ReadEvents(ctx, q, to) },
		send: func(e logs.EventEntry) error { return stream.Send(eventStep(e)) },
		caughtUp: func(cursor string) error {
			m := &roostv1.ReadEventsResponse_CaughtUp{CaughtUp: &roostv1.EventsCaughtUp{}}
			return stream.Send(&roostv1.ReadEventsResponse{Message: m, Cursor: cursor})
		},
		beat: func(cursor string) error {
			m := &roostv1.ReadEventsResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}
			return stream.Send(&roostv1.ReadEventsResponse{Message: m, Cursor: cursor})
		},
	}
	return r.serve(stream.Context())
}

// eventQuery translates what is asked for.
func eventQuery(req *roostv1.ReadEventsRequest) (q logs.EventQuery, err error) {
	q = logs.EventQuery{
		App: req.GetApp(), Instance: req.GetInstance(), Severity: choiceTo(severities, req.GetSeverity()), Grep: req.GetGrep(),
		Since: timeFrom(req.GetSince()), Until: timeFrom(req.GetUntil()),
		Cursor: req.GetCursor(), Follow: req.GetFollow(), Lossless: req.GetLossless(),
	}
	if q.Severity == 0 && req.GetSeverity() != roostv1.EventSeverity_EVENT_SEVERITY_UNSPECIFIED {
		return q, invalidField(q.App, "severity", "severity %v is not known to this daemon", req.GetSeverity())
	}
	q.Tail, err = tailFrom(req.Tail)
	return q, err
}

func eventStep(e logs.EventEntry) *roostv1.ReadEventsResponse {
	if e.Gap {
		m := &roostv1.ReadEventsResponse_Dropped{Dropped: &roostv1.EventsDropped{Events: int64(e.Missed)}}
		return &roostv1.ReadEventsResponse{Message: m, Cursor: e.Cursor}
	}
	return &roostv1.ReadEventsResponse{Message: &roostv1.ReadEventsResponse_Event{Event: eventTo(e.Event)}, Cursor: e.Cursor}
}
