package api

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/endpoint"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Activator is what RoutingService needs of the supervisor.
type Activator interface {
	// Activate has the app started, if a request may, and returns its set once an
	// endpoint is ready. The named instances are probed again first.
	Activate(ctx context.Context, name string, epoch, revision uint64, failed []app.InstanceID) (app.EndpointSet, error)
	// Failure tells of a request that an instance failed.
	Failure(name string, id app.InstanceID, kind, detail string)
}

// Endpoints is what RoutingService needs of the endpoint registry.
type Endpoints interface {
	Epoch() uint64
	Sets() *endpoint.Sets
	Ready() <-chan struct{}
	Current(name string) (app.EndpointSet, bool)
	Connect(p app.Proxy) *endpoint.Session
}

// RoutingService hands routes and endpoints to proxies, starts apps on their
// demand, and takes back what they tell.
type RoutingService struct {
	roostv1.UnimplementedRoutingServiceServer
	Activator Activator
	Endpoints Endpoints
}

// Watch streams every app's endpoint set and then what changes. Until the daemon
// knows its instances again there are heartbeats only.
func (s *RoutingService) Watch(req *roostv1.WatchRequest, stream grpc.ServerStreamingServer[roostv1.WatchResponse]) error {
	epoch := s.Endpoints.Epoch()
	heartbeat := func() *roostv1.WatchResponse {
		return &roostv1.WatchResponse{Message: &roostv1.WatchResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}}
	}
	err := beatUntil(stream.Context(), s.Endpoints.Ready(), func() error { return stream.Send(heartbeat()) })
	if err != nil {
		return err
	}
	w := stateWatch[string, app.EndpointSet, *roostv1.EndpointSet, *roostv1.WatchResponse]{
		hub: s.Endpoints.Sets(), epoch: epoch,
		less: func(a, b app.EndpointSet) int { return strings.Compare(a.App, b.App) },
		to:   setTo,
		snapshot: func(chunk []*roostv1.EndpointSet, last bool) *roostv1.WatchResponse {
			return &roostv1.WatchResponse{Message: &roostv1.WatchResponse_Snapshot{
				Snapshot: &roostv1.EndpointsSnapshot{Epoch: epoch, Sets: chunk, LastChunk: last},
			}}
		},
		delta: func(upserts []*roostv1.EndpointSet, removed []string) *roostv1.WatchResponse {
			return &roostv1.WatchResponse{Message: &roostv1.WatchResponse_Delta{
				Delta: &roostv1.EndpointsDelta{Upserts: upserts, Removed: removed},
			}}
		},
		heartbeat: heartbeat,
		token:     func(r *roostv1.WatchResponse, token string) { r.ResumeToken = token },
		send:      stream.Send,
	}
	return w.serve(stream.Context(), req.GetResumeToken())
}

// beatUntil sends heartbeats, the first at once, until ready is closed. Where it
// is already, it sends none.
func beatUntil(ctx context.Context, ready <-chan struct{}, beat func() error) error {
	select {
	case <-ready:
		return nil
	default:
	}
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		if err := beat(); err != nil {
			return err
		}
		select {
		case <-ready:
			return nil
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Activate asks for an endpoint of an app and waits for it.
func (s *RoutingService) Activate(ctx context.Context, req *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
	var failed []app.InstanceID
	for _, id := range req.GetFailedInstances() {
		failed = append(failed, app.InstanceID(id))
	}
	set, err := s.Activator.Activate(ctx, req.GetApp(), req.GetEpoch(), req.GetRevision(), failed)
	if err != nil {
		return nil, s.explain(req.GetApp(), err)
	}
	return &roostv1.ActivateResponse{Set: setTo(set)}, nil
}

// explain adds what a proxy needs to know of a refusal: the daemon's start, so
// that it can tell for how long the refusal holds, and the app's output where its
// owner lets the public see it.
func (s *RoutingService) explain(name string, err error) error {
	fault, ok := errors.AsType[*app.Fault](err)
	if !ok {
		return err
	}
	r := &refusal{Fault: fault, metadata: map[string]string{"epoch": strconv.FormatUint(s.Endpoints.Epoch(), 10)}}
	if set, ok := s.Endpoints.Current(name); ok && set.DetailedErrors && fault.Detail != "" {
		r.metadata["detail"] = fault.Detail
	}
	return r
}
