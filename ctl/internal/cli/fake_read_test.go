package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func (f *fakeDaemon) instancesOf(a *roostv1.App, exited bool) []*roostv1.Instance {
	var list []*roostv1.Instance
	for i := range a.GetReady() {
		list = append(list, &roostv1.Instance{
			Id: fmt.Sprintf("%s%04d", a.GetName(), i), App: a.GetName(), Generation: a.GetServingGeneration(), Phase: roostv1.InstancePhase_INSTANCE_PHASE_READY,
			Pid: 4000 + i, Address: fmt.Sprintf("127.0.0.1:%d", 20000+i), StartTime: timestamppb.New(began()), ReadyTime: timestamppb.New(began().Add(120 * time.Millisecond)), InFlight: 3, Reason: "request",
		})
	}
	if exited && a.GetState() == roostv1.AppState_APP_STATE_FAILED {
		list = append(list, &roostv1.Instance{
			Id: a.GetName() + "dead", App: a.GetName(), Generation: 1, Phase: roostv1.InstancePhase_INSTANCE_PHASE_EXITED, StartTime: timestamppb.New(began()),
			Exit: &roostv1.Exit{Code: 7, Time: timestamppb.New(began().Add(2 * time.Second))}, Reason: "it exited before it was ready", OutputTail: "bye\n",
		})
	}
	if exited && a.GetName() == f.crashed {
		at := began().Add(-2 * time.Hour)
		list = append(list, &roostv1.Instance{
			Id: a.GetName() + "dead", App: a.GetName(), Generation: 1, Phase: roostv1.InstancePhase_INSTANCE_PHASE_EXITED, StartTime: timestamppb.New(at),
			Exit: &roostv1.Exit{Signal: "SIGSEGV", Time: timestamppb.New(at)}, OutputTail: "bye\n",
		})
	}
	return list
}

func (f *fakeDaemon) ListInstances(_ context.Context, req *roostv1.ListInstancesRequest) (*roostv1.ListInstancesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := slices.Sorted(maps.Keys(f.apps))
	if req.GetApp() != "" {
		if _, err := f.find(req.GetApp()); err != nil {
			return nil, err
		}
		names = []string{req.GetApp()}
	}
	resp := &roostv1.ListInstancesResponse{}
	for _, n := range names {
		resp.Instances = append(resp.Instances, f.instancesOf(f.apps[n], req.GetIncludeExited())...)
	}
	return resp, nil
}

func (f *fakeDaemon) SignalInstance(_ context.Context, req *roostv1.SignalInstanceRequest) (*roostv1.SignalInstanceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.find(req.GetApp())
	if err != nil {
		return nil, err
	}
	if strings.Contains(req.GetSignal(), "NOPE") {
		return nil, fakeError(codes.InvalidArgument, "INVALID_ARGUMENT", "%q is not a signal: use a name such as SIGHUP", req.GetSignal())
	}
	resp := &roostv1.SignalInstanceResponse{}
	for _, i := range f.instancesOf(a, false) {
		if req.GetId() == "" || req.GetId() == i.GetId() {
			resp.Ids = append(resp.Ids, i.GetId())
		}
	}
	return resp, nil
}

// wrote makes an app have written a line.
func (f *fakeDaemon) wrote(app, instance, stream, data string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := roostv1.LogStream_LOG_STREAM_STDOUT
	if stream == "stderr" {
		s = roostv1.LogStream_LOG_STREAM_STDERR
	}
	f.logs[app] = append(f.logs[app], &roostv1.LogEntry{
		Time: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5+len(f.logs[app]), 0, time.UTC)),
		App:  app, Instance: instance, Stream: s, Data: []byte(data), Cursor: fmt.Sprintf("c%d", len(f.logs[app])),
	})
}

func (f *fakeDaemon) ReadLogs(req *roostv1.ReadLogsRequest, s roostv1.LogService_ReadLogsServer) error {
	f.mu.Lock()
	_, err := f.find(req.GetApp())
	all := f.logs[req.GetApp()]
	f.mu.Unlock()
	if err != nil {
		return err
	}
	var list []*roostv1.LogEntry
	for _, e := range all {
		if (req.GetInstance() == "" || e.GetInstance() == req.GetInstance()) && (req.GetStream() == 0 || e.GetStream() == req.GetStream()) &&
			(req.GetSince() == nil || !e.GetTime().AsTime().Before(req.GetSince().AsTime())) && e.GetCursor() > req.GetCursor() &&
			(req.GetUntil() == nil || e.GetTime().AsTime().Before(req.GetUntil().AsTime())) && strings.Contains(string(e.GetData()), req.GetGrep()) {
			list = append(list, e)
		}
	}
	if req.Tail != nil {
		list = list[max(0, len(list)-int(req.GetTail())):]
	}
	if len(list) > 0 {
		m := &roostv1.ReadLogsResponse_Batch{Batch: &roostv1.LogBatch{Entries: list}}
		if err := s.Send(&roostv1.ReadLogsResponse{Message: m, Cursor: list[len(list)-1].GetCursor()}); err != nil {
			return err
		}
	}
	if req.GetLossless() {
		st, _ := status.New(codes.ResourceExhausted, "go on from the cursor").WithDetails(
			&errdetails.ErrorInfo{Reason: "READER_TOO_SLOW", Domain: "roost", Metadata: map[string]string{"cursor": "c0"}})
		return st.Err()
	}
	if err := f.cut(); err != nil || !req.GetFollow() {
		return err
	}
	if err := s.Send(&roostv1.ReadLogsResponse{Message: &roostv1.ReadLogsResponse_Dropped{Dropped: &roostv1.LogDropped{Lines: 5, Bytes: 50}}}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func (f *fakeDaemon) ReadEvents(req *roostv1.ReadEventsRequest, s roostv1.EventService_ReadEventsServer) error {
	f.mu.Lock()
	list := slices.Clone(f.events)
	f.mu.Unlock()
	list = slices.DeleteFunc(list, func(e *roostv1.Event) bool {
		return e.GetCursor() <= req.GetCursor() || e.GetSeverity() < req.GetSeverity() || !strings.Contains(e.GetMessage(), req.GetGrep()) ||
			req.GetInstance() != "" && e.GetInstance() != req.GetInstance()
	})
	if req.Tail != nil {
		list = list[max(0, len(list)-int(req.GetTail())):]
	}
	for _, e := range list {
		if req.GetApp() != "" && e.GetApp() != req.GetApp() {
			continue
		}
		if err := s.Send(&roostv1.ReadEventsResponse{Message: &roostv1.ReadEventsResponse_Event{Event: e}, Cursor: e.GetCursor()}); err != nil {
			return err
		}
	}
	if err := f.cut(); err != nil {
		return err
	}
	if req.GetFollow() {
		<-s.Context().Done()
	}
	return nil
}

// cut ends a stream as a daemon's death does, as often as it was told to.
func (f *fakeDaemon) cut() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.breaks == 0 {
		return nil
	}
	f.breaks--
	return status.Error(codes.Unavailable, "error reading from server: EOF")
}

func (f *fakeDaemon) GetInfo(context.Context, *roostv1.GetInfoRequest) (*roostv1.GetInfoResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &roostv1.GetInfoResponse{
		Version: "v1", KeeperVersion: "v1", Pid: 10 + f.restarts, KeeperPid: 11, StartTime: timestamppb.New(began()), Epoch: 3, StateDir: "/var/lib/roost", LogDir: "/var/log/roost",
		Socket: "/run/roost/roostd.sock", Caller: "uid 0 (root)", Roles: []string{"admin"},
		Abilities: []*roostv1.Ability{{Name: "cgroup-kill", Available: true, Detail: "v2"}, {Name: "memory-limit", Detail: "no controller"}},
		Proxies:   []*roostv1.ProxyInfo{{Id: "p1", Connected: true, Version: "v1", Pid: 12}},
	}, nil
}

func (f *fakeDaemon) Shutdown(_ context.Context, req *roostv1.ShutdownRequest) (*roostv1.ShutdownResponse, error) {
	f.mu.Lock()
	err := f.mayWrite()
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if f.comesBack {
		f.mu.Lock()
		f.restarts++
		f.mu.Unlock()
	} else {
		go f.shutdown()
	}
	if req.GetDetach() {
		return &roostv1.ShutdownResponse{Left: 2}, nil
	}
	return &roostv1.ShutdownResponse{Stopped: 2}, nil
}
