package api

import (
	"cmp"
	"context"
	"slices"
	"syscall"

	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	"github.com/roostd/roost/daemon/internal/watch"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Instances is what InstanceService needs of the supervisor.
type Instances interface {
	Apps() *watch.Hub[string, app.App]
	Instances() *watch.Hub[app.InstanceID, app.Instance]
	Signal(ctx context.Context, name string, id app.InstanceID, sig syscall.Signal, actor string) ([]app.InstanceID, error)
}

// InFlight tells how many requests the proxies report at an instance.
type InFlight interface {
	InFlight(name string, id app.InstanceID) int
}

// InstanceService shows the processes of apps.
type InstanceService struct {
	roostv1.UnimplementedInstanceServiceServer
	Instances Instances
	InFlight  InFlight
	Epoch     uint64
}

// GetInstance returns one instance.
func (s *InstanceService) GetInstance(_ context.Context, req *roostv1.GetInstanceRequest) (*roostv1.GetInstanceResponse, error) {
	i, ok := s.Instances.Instances().Get(app.InstanceID(req.GetId()))
	if !ok {
		return nil, app.Errorf(app.NotFound, app.ReasonNotFound, "", "instance %q not found: only the last ones of an app are kept", req.GetId())
	}
	return &roostv1.GetInstanceResponse{Instance: s.to(i)}, nil
}

// ListInstances returns the instances of one app or all.
func (s *InstanceService) ListInstances(_ context.Context, req *roostv1.ListInstancesRequest) (*roostv1.ListInstancesResponse, error) {
	if err := s.known(req.GetApp()); err != nil {
		return nil, err
	}
	var list []app.Instance
	for _, i := range s.Instances.Instances().All() {
		if of(i, req.GetApp()) && (req.GetIncludeExited() || i.Phase != app.PhaseExited) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, byAppThenAge)
	resp, left := &roostv1.ListInstancesResponse{}, outputs(listedOutput)
	for _, i := range list {
		p := s.to(i)
		p.OutputTail = left.take(p.GetOutputTail())
		resp.Instances = append(resp.Instances, p)
	}
	return resp, nil
}

// WatchInstances streams a snapshot of the instances and then what changes.
func (s *InstanceService) WatchInstances(req *roostv1.WatchInstancesRequest, stream grpc.ServerStreamingServer[roostv1.WatchInstancesResponse]) error {
	w := stateWatch[app.InstanceID, app.Instance, *roostv1.Instance, *roostv1.WatchInstancesResponse]{
		hub: s.Instances.Instances(), epoch: s.Epoch, filter: req.GetApp(),
		values: func(i app.Instance) bool { return of(i, req.GetApp()) },
		less:   byAppThenAge,
		to:     s.to,
		snapshot: func(chunk []*roostv1.Instance, last bool) *roostv1.WatchInstancesResponse {
			return &roostv1.WatchInstancesResponse{Message: &roostv1.WatchInstancesResponse_Snapshot{
				Snapshot: &roostv1.InstancesSnapshot{Instances: chunk, LastChunk: last},
			}}
		},
		delta: func(upserts []*roostv1.Instance, removed []string) *roostv1.WatchInstancesResponse {
			return &roostv1.WatchInstancesResponse{Message: &roostv1.WatchInstancesResponse_Delta{
				Delta: &roostv1.InstancesDelta{Upserts: upserts, Removed: removed},
			}}
		},
		heartbeat: func() *roostv1.WatchInstancesResponse {
			return &roostv1.WatchInstancesResponse{Message: &roostv1.WatchInstancesResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}}
		},
		token: func(r *roostv1.WatchInstancesResponse, token string) { r.ResumeToken = token },
		send:  stream.Send,
	}
	return w.serve(stream.Context(), req.GetResumeToken())
}

// SignalInstance sends a signal to the leaders of instances.
func (s *InstanceService) SignalInstance(ctx context.Context, req *roostv1.SignalInstanceRequest) (*roostv1.SignalInstanceResponse, error) {
	sig, err := app.ParseSignal(req.GetSignal())
	if err != nil {
		return nil, &app.Fault{Kind: app.Invalid, Reason: app.ReasonInvalidArgument, App: req.GetApp(), Message: err.Error()}
	}
	ids, err := s.Instances.Signal(ctx, req.GetApp(), app.InstanceID(req.GetId()), sig, auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	resp := &roostv1.SignalInstanceResponse{}
	for _, id := range ids {
		resp.Ids = append(resp.Ids, string(id))
	}
	return resp, nil
}

func (s *InstanceService) to(i app.Instance) *roostv1.Instance {
	return instanceTo(i, s.InFlight.InFlight(i.App, i.ID))
}

// known refuses the name of an app that does not exist; "" is all apps.
func (s *InstanceService) known(name string) error {
	if name == "" {
		return nil
	}
	_, err := findApp(s.Instances.Apps(), name)
	return err
}

func of(i app.Instance, name string) bool { return name == "" || i.App == name }

func byAppThenAge(a, b app.Instance) int {
	return cmp.Or(cmp.Compare(a.App, b.App), a.StartTime.Compare(b.StartTime), cmp.Compare(a.ID, b.ID))
}
