package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// fakeDaemon is a daemon in memory. What it answers are copies: gRPC reads them
// after the lock is gone. What an app does is in its command's first word: "fail"
// fails its rollouts, "hang" never ends them, "warn" gets a warning, "superseded"
// is taken over, "cut" loses its first watch; anything else runs.
type fakeDaemon struct {
	roostv1.UnimplementedAppServiceServer
	roostv1.UnimplementedInstanceServiceServer
	roostv1.UnimplementedLogServiceServer
	roostv1.UnimplementedEventServiceServer
	roostv1.UnimplementedSystemServiceServer

	mu       sync.Mutex
	apps     map[string]*roostv1.App
	history  map[string][]*roostv1.Generation
	rollouts map[string]*roostv1.Rollout
	logs     map[string][]*roostv1.LogEntry
	events   []*roostv1.Event
	cuts     map[string]bool // rollouts whose next watch is cut
	denied   bool
	breaks   int    // so many streams are cut off behind what there is
	crashed  string // the app that has an instance that crashed long ago
	// comesBack has a shutdown followed by a start that nobody sees between them.
	comesBack bool
	restarts  int32
	shutdown  func()
}

func newFakeDaemon() *fakeDaemon {
	return &fakeDaemon{
		apps: map[string]*roostv1.App{}, history: map[string][]*roostv1.Generation{},
		rollouts: map[string]*roostv1.Rollout{}, cuts: map[string]bool{}, logs: map[string][]*roostv1.LogEntry{}, shutdown: func() {},
	}
}

func (f *fakeDaemon) register(s *grpc.Server) {
	roostv1.RegisterAppServiceServer(s, f)
	roostv1.RegisterInstanceServiceServer(s, f)
	roostv1.RegisterLogServiceServer(s, f)
	roostv1.RegisterEventServiceServer(s, f)
	roostv1.RegisterSystemServiceServer(s, f)
}

// began is when everything of the fake began, so that ages are the same in every run.
func began() time.Time { return time.Now().Add(-3 * time.Hour) }

func fakeError(c codes.Code, reason, format string, args ...any) error {
	st, err := status.New(c, fmt.Sprintf(format, args...)).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "roost"})
	if err != nil {
		return err
	}
	return st.Err()
}

func (f *fakeDaemon) find(name string) (*roostv1.App, error) {
	if a, ok := f.apps[name]; ok {
		return a, nil
	}
	return nil, fakeError(codes.NotFound, "APP_NOT_FOUND", "no app is called %q: see roostctl ls", name)
}

func (f *fakeDaemon) mayWrite() error {
	if f.denied {
		return fakeError(codes.PermissionDenied, "PERMISSION_DENIED", "uid 1000 (alice) has role viewer, and this needs operator: ask an admin for the group roost")
	}
	return nil
}

func (f *fakeDaemon) ApplyApps(_ context.Context, req *roostv1.ApplyAppsRequest) (*roostv1.ApplyAppsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.mayWrite(); err != nil {
		return nil, err
	}
	if err := f.validate(req.GetSpecs()); err != nil {
		return nil, err
	}
	resp := &roostv1.ApplyAppsResponse{}
	for _, s := range req.GetSpecs() {
		resp.Results = append(resp.Results, f.applyOne(s, req))
	}
	for _, name := range slices.Sorted(maps.Keys(f.apps)) {
		declared := slices.ContainsFunc(req.GetSpecs(), func(s *roostv1.AppSpec) bool { return s.GetName() == name })
		if !req.GetPrune() || declared || f.apps[name].GetManifest() != req.GetManifest() {
			continue
		}
		r := &roostv1.ApplyResult{Action: roostv1.ApplyAction_APPLY_ACTION_DELETED, Name: name}
		resp.Results = append(resp.Results, r)
		if !req.GetValidateOnly() {
			delete(f.apps, name)
			r.RolloutId = "forgotten" // as many are, where many end at once
		}
	}
	return proto.CloneOf(resp), nil
}

func (f *fakeDaemon) validate(specs []*roostv1.AppSpec) error {
	var bad errdetails.BadRequest
	routes := map[string]string{}
	for _, s := range specs {
		path := "apps." + s.GetName()
		if len(s.GetCommand()) == 0 {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: path + ".command", Description: "it is required: the program and its arguments"})
		}
		if s.GetListen().GetPort() > 65535 {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: path + ".listen.port", Description: fmt.Sprintf("%d is out of range: 0 to 65535", s.GetListen().GetPort())})
		}
	}
	if len(bad.GetFieldViolations()) > 0 {
		st, _ := status.New(codes.InvalidArgument, "the manifest has faults").WithDetails(&errdetails.ErrorInfo{Reason: "INVALID_SPEC", Domain: "roost"}, &bad)
		return st.Err()
	}
	for _, s := range specs {
		for i, r := range s.GetRoutes() {
			if other, dup := routes[r.GetHost()+r.GetPath()]; dup {
				field := fmt.Sprintf("apps.%s.routes[%d]", s.GetName(), i)
				st, _ := status.New(codes.FailedPrecondition, "routes conflict").WithDetails(&errdetails.ErrorInfo{Reason: "ROUTE_CONFLICT", Domain: "roost"},
					&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{Subject: field, Description: "app " + other + " has the same host and path"}}})
				return st.Err()
			}
			routes[r.GetHost()+r.GetPath()] = s.GetName()
		}
	}
	return nil
}

func (f *fakeDaemon) applyOne(s *roostv1.AppSpec, req *roostv1.ApplyAppsRequest) *roostv1.ApplyResult {
	r := &roostv1.ApplyResult{Name: s.GetName(), Action: roostv1.ApplyAction_APPLY_ACTION_CREATED}
	if s.GetCommand()[0] == "warn" {
		r.Warnings = []*roostv1.FieldWarning{{Field: "apps." + s.GetName() + ".command", Message: "warn is not in the app's PATH: the start will fail"}}
	}
	old := f.apps[s.GetName()]
	if old != nil {
		r.Action = roostv1.ApplyAction_APPLY_ACTION_UPDATED
		if proto.Equal(old.GetSpec(), s) {
			r.Action, r.App = roostv1.ApplyAction_APPLY_ACTION_UNCHANGED, old
			return r
		}
		if !slices.Equal(old.GetSpec().GetCommand(), s.GetCommand()) {
			r.ChangedPaths, r.ReplacesInstances = []string{"command"}, true
		} else {
			r.ChangedPaths = []string{"env.GREETING"}
		}
	}
	if req.GetValidateOnly() {
		return r
	}
	r.App = f.accept(s, old)
	r.App.Manifest = req.GetManifest()
	r.RolloutId = f.begin(r.App)
	return r
}

func (f *fakeDaemon) accept(s *roostv1.AppSpec, old *roostv1.App) *roostv1.App {
	n := old.GetDesiredGeneration() + 1
	app := &roostv1.App{
		Name: s.GetName(), Spec: s, DesiredGeneration: n, ServingGeneration: n, Etag: fmt.Sprintf("e%d", n), ResolvedDir: s.GetDir(),
		State: roostv1.AppState_APP_STATE_RUNNING, Ready: max(s.GetInstances(), 1), Instances: max(s.GetInstances(), 1),
	}
	f.apps[s.GetName()] = app
	for _, g := range f.history[s.GetName()] {
		g.Desired, g.Serving = false, false
	}
	g := &roostv1.Generation{Number: n, Spec: s, ResolvedDir: s.GetDir(), Time: timestamppb.New(began()), Actor: "uid 0 (root)", Desired: true, Serving: true, Outcome: roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE}
	f.history[s.GetName()] = append([]*roostv1.Generation{g}, f.history[s.GetName()]...)
	return app
}

// begin makes the rollout of an app and what follows from it.
func (f *fakeDaemon) begin(a *roostv1.App) string {
	id := fmt.Sprintf("r%d", len(f.rollouts)+1)
	r := &roostv1.Rollout{Id: id, App: a.GetName(), Generation: a.GetDesiredGeneration(), Desired: a.GetInstances(), StartTime: timestamppb.New(began())}
	switch a.GetSpec().GetCommand()[0] {
	case "fail":
		r.Phase, r.Message, r.Output = roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED, a.GetName()+" did not start: it exited with code 7 before it was ready", "cannot open config.json\x1b[2J\nbye\n"
		if a.ServingGeneration = max(a.GetDesiredGeneration()-1, 1); a.GetServingGeneration() == a.GetDesiredGeneration() || slices.Contains(a.GetSpec().GetCommand(), "cold") {
			a.State, a.Ready = roostv1.AppState_APP_STATE_FAILED, 0
		}
		r.EndTime = r.GetStartTime()
		a.Conditions = []*roostv1.Condition{{Type: "RolloutFailed", Message: "generation 1: exited with code 7"}}
	case "hang":
		r.Phase = roostv1.RolloutPhase_ROLLOUT_PHASE_PROGRESSING
	case "superseded":
		r.Phase = roostv1.RolloutPhase_ROLLOUT_PHASE_SUPERSEDED
	default:
		r.Phase, r.Updated = roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE, a.GetInstances()
	}
	f.cuts[id] = a.GetSpec().GetCommand()[0] == "cut"
	a.Rollout = r
	f.rollouts[id] = r
	return id
}

func (f *fakeDaemon) GetApp(_ context.Context, req *roostv1.GetAppRequest) (*roostv1.GetAppResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.find(req.GetName())
	return &roostv1.GetAppResponse{App: proto.CloneOf(a)}, err
}

func (f *fakeDaemon) ListApps(context.Context, *roostv1.ListAppsRequest) (*roostv1.ListAppsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &roostv1.ListAppsResponse{}
	for _, name := range slices.Sorted(maps.Keys(f.apps)) {
		resp.Apps = append(resp.Apps, proto.CloneOf(f.apps[name]))
	}
	return resp, nil
}

// write finds an app, changes it, and begins a rollout.
func (f *fakeDaemon) write(name string, change func(*roostv1.App)) (*roostv1.App, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.mayWrite(); err != nil {
		return nil, "", err
	}
	a, err := f.find(name)
	if err != nil {
		return nil, "", err
	}
	change(a)
	before := proto.CloneOf(a) // the answer does not wait for what follows
	before.State, before.Ready = roostv1.AppState_APP_STATE_STARTING, 0
	return before, f.begin(a), nil
}

func (f *fakeDaemon) StartApp(_ context.Context, req *roostv1.StartAppRequest) (*roostv1.StartAppResponse, error) {
	a, id, err := f.write(req.GetName(), func(a *roostv1.App) {
		a.State, a.Ready = roostv1.AppState_APP_STATE_RUNNING, a.GetInstances()
	})
	return &roostv1.StartAppResponse{App: a, RolloutId: id}, err
}

func (f *fakeDaemon) StopApp(_ context.Context, req *roostv1.StopAppRequest) (*roostv1.StopAppResponse, error) {
	a, id, err := f.write(req.GetName(), func(a *roostv1.App) { a.State, a.Ready = roostv1.AppState_APP_STATE_STOPPED, 0 })
	return &roostv1.StopAppResponse{App: a, RolloutId: id}, err
}

func (f *fakeDaemon) SetAppOffline(_ context.Context, req *roostv1.SetAppOfflineRequest) (*roostv1.SetAppOfflineResponse, error) {
	a, id, err := f.write(req.GetName(), func(a *roostv1.App) {
		a.State = roostv1.AppState_APP_STATE_IDLE
		if req.GetOffline() {
			a.State, a.Ready = roostv1.AppState_APP_STATE_OFFLINE, 0
			a.Conditions = []*roostv1.Condition{{Type: "Offline", Message: fmt.Sprintf("by an operator, with %d bytes", len(req.GetPage()))}}
		}
	})
	if err == nil && !req.GetOffline() && a.GetSpec().GetCommand()[0] == "kept" {
		a.State, id = roostv1.AppState_APP_STATE_OFFLINE, "" // by its folder
	}
	return &roostv1.SetAppOfflineResponse{App: a, RolloutId: id}, err
}

func (f *fakeDaemon) RecycleApp(_ context.Context, req *roostv1.RecycleAppRequest) (*roostv1.RecycleAppResponse, error) {
	f.mu.Lock()
	stopped := f.apps[req.GetName()].GetState() == roostv1.AppState_APP_STATE_STOPPED
	f.mu.Unlock()
	if stopped {
		return nil, fakeError(codes.FailedPrecondition, "APP_STOPPED", "%s is stopped: start it first", req.GetName())
	}
	a, id, err := f.write(req.GetName(), func(*roostv1.App) {})
	if a.GetSpec().GetCommand()[0] == "idle" {
		id = "" // nothing runs
	}
	return &roostv1.RecycleAppResponse{App: a, RolloutId: id}, err
}

func (f *fakeDaemon) ScaleApp(_ context.Context, req *roostv1.ScaleAppRequest) (*roostv1.ScaleAppResponse, error) {
	if req.GetInstances() < 1 || req.GetInstances() > 100 {
		return nil, fakeError(codes.InvalidArgument, "INVALID_ARGUMENT", "instances %d is out of range: 1 to 100", req.GetInstances())
	}
	a, id, err := f.write(req.GetName(), func(a *roostv1.App) { a.Instances, a.Ready = req.GetInstances(), req.GetInstances() })
	return &roostv1.ScaleAppResponse{App: a, RolloutId: id}, err
}

func (f *fakeDaemon) DeleteApp(_ context.Context, req *roostv1.DeleteAppRequest) (*roostv1.DeleteAppResponse, error) {
	_, id, err := f.write(req.GetName(), func(*roostv1.App) {})
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.apps, req.GetName())
	return &roostv1.DeleteAppResponse{RolloutId: id}, err
}

func (f *fakeDaemon) RollbackApp(_ context.Context, req *roostv1.RollbackAppRequest) (*roostv1.RollbackAppResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.find(req.GetName())
	if err != nil {
		return nil, err
	}
	for i, g := range f.history[req.GetName()] {
		if g.GetNumber() == req.GetGeneration() || req.GetGeneration() == 0 && i == 1 {
			a = f.accept(g.GetSpec(), a)
			id := f.begin(a)
			return &roostv1.RollbackAppResponse{App: proto.CloneOf(a), RolloutId: id}, nil
		}
	}
	return nil, fakeError(codes.NotFound, "NOT_FOUND", "%s has no generation %d: see roostctl history %s", req.GetName(), req.GetGeneration(), req.GetName())
}

func (f *fakeDaemon) ListGenerations(_ context.Context, req *roostv1.ListGenerationsRequest) (*roostv1.ListGenerationsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(req.GetName()); err != nil {
		return nil, err
	}
	return proto.CloneOf(&roostv1.ListGenerationsResponse{Generations: f.history[req.GetName()]}), nil
}

func (f *fakeDaemon) WatchRollout(req *roostv1.WatchRolloutRequest, s roostv1.AppService_WatchRolloutServer) error {
	f.mu.Lock()
	end, ok := f.rollouts[req.GetRolloutId()]
	end = proto.CloneOf(end)
	f.mu.Unlock()
	if !ok {
		return fakeError(codes.NotFound, "NOT_FOUND", "no rollout %q is known", req.GetRolloutId())
	}
	f.mu.Lock()
	cut := f.cuts[req.GetRolloutId()]
	delete(f.cuts, req.GetRolloutId())
	f.mu.Unlock()
	first := proto.CloneOf(end)
	first.Phase, first.Updated, first.Message, first.Output = roostv1.RolloutPhase_ROLLOUT_PHASE_PROGRESSING, 0, "waits for its first instance", ""
	if err := s.Send(&roostv1.WatchRolloutResponse{Rollout: first}); err != nil {
		return err
	}
	if cut {
		return status.Error(codes.Unavailable, "the daemon is gone")
	}
	if !over(end.GetPhase()) {
		<-s.Context().Done()
		return s.Context().Err()
	}
	return s.Send(&roostv1.WatchRolloutResponse{Rollout: end})
}
