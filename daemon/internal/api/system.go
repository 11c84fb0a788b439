package api

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Info is what the daemon tells of itself.
type Info struct {
	Version       string
	KeeperVersion string
	PID           int
	KeeperPID     int
	StartTime     time.Time
	Epoch         uint64
	StateDir      string
	LogDir        string
	Socket        string
	Abilities     []Ability
}

// Ability is something the host has or lacks.
type Ability struct {
	Name      string
	Available bool
	Detail    string
}

// System is what SystemService needs of the program.
type System interface {
	Info(ctx context.Context) Info
	// Shutdown stops every app, or with detach none, and has the daemon end after
	// the answer. Whoever asks may leave.
	Shutdown(ctx context.Context, detach bool, actor string) (Outcome, error)
}

// Outcome is what has become of the instances in a shutdown.
type Outcome struct {
	Stopped   int
	Left      int
	Lingering []app.Lingering
}

// SystemService tells about the daemon itself and ends it.
type SystemService struct {
	roostv1.UnimplementedSystemServiceServer
	System  System
	Proxies interface {
		Proxies() []app.Proxy
	}
}

// GetInfo returns what runs, where, and who is asking.
func (s *SystemService) GetInfo(ctx context.Context, _ *roostv1.GetInfoRequest) (*roostv1.GetInfoResponse, error) {
	i, caller := s.System.Info(ctx), auth.From(ctx)
	resp := &roostv1.GetInfoResponse{
		Version: i.Version, KeeperVersion: i.KeeperVersion, Pid: int32(i.PID), KeeperPid: int32(i.KeeperPID),
		StartTime: timeTo(i.StartTime), Epoch: i.Epoch, StateDir: i.StateDir, LogDir: i.LogDir, Socket: i.Socket,
		Caller: caller.Actor(),
	}
	for _, r := range caller.Roles {
		resp.Roles = append(resp.Roles, string(r))
	}
	for _, a := range i.Abilities {
		resp.Abilities = append(resp.Abilities, &roostv1.Ability{Name: a.Name, Available: a.Available, Detail: a.Detail})
	}
	for _, p := range s.Proxies.Proxies() {
		resp.Proxies = append(resp.Proxies, &roostv1.ProxyInfo{Id: p.ID, Connected: p.Connected, Version: p.Version, Pid: int32(p.PID)})
	}
	return resp, nil
}

// Shutdown ends the daemon. It answers when the apps are stopped.
func (s *SystemService) Shutdown(ctx context.Context, req *roostv1.ShutdownRequest) (*roostv1.ShutdownResponse, error) {
	o, err := s.System.Shutdown(ctx, req.GetDetach(), auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	resp := &roostv1.ShutdownResponse{Stopped: int32(o.Stopped), Left: int32(o.Left)}
	for _, l := range o.Lingering {
		m := &roostv1.Lingering{App: l.App, Instance: string(l.Instance)}
		for _, pid := range l.PIDs {
			m.Pids = append(m.Pids, int32(pid))
		}
		resp.Lingering = append(resp.Lingering, m)
	}
	return resp, nil
}
