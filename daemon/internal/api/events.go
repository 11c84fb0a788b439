package api

import (
	"context"

	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/logs"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Events is what EventService needs of the event log.
type Events interface {
	ReadEvents(ctx context.Context, q logs.EventQuery, emit func(app.Event) error, caughtUp func() error) error
}

// EventService hands out what happened.
type EventService struct {
	roostv1.UnimplementedEventServiceServer
	Events Events
}

// ReadEvents streams history and then, with follow, what comes.
func (s *EventService) ReadEvents(req *roostv1.ReadEventsRequest, stream grpc.ServerStreamingServer[roostv1.ReadEventsResponse]) error {
	q := logs.EventQuery{
		App: req.GetApp(), Since: timeFrom(req.GetSince()), Cursor: req.GetCursor(), Follow: req.GetFollow(),
	}
	var err error
	if q.Tail, err = tailFrom(req.Tail); err != nil {
		return err
	}
	return relay[app.Event]{
		read: func(ctx context.Context, emit func(app.Event) error, caughtUp func() error) error {
			return s.Events.ReadEvents(ctx, q, emit, caughtUp)
		},
		send: func(e app.Event) error {
			return stream.Send(&roostv1.ReadEventsResponse{Message: &roostv1.ReadEventsResponse_Event{Event: eventTo(e)}})
		},
		caughtUp: func() error {
			return stream.Send(&roostv1.ReadEventsResponse{Message: &roostv1.ReadEventsResponse_CaughtUp{CaughtUp: &roostv1.EventsCaughtUp{}}})
		},
		beat: func() error {
			return stream.Send(&roostv1.ReadEventsResponse{Message: &roostv1.ReadEventsResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}})
		},
	}.serve(stream.Context())
}
