package keeper

import (
	"context"
	"errors"
	"maps"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/watch"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
	"github.com/roostd/roost/internal/rungroup"
)

// endingAbility is among the abilities of a keeper that takes no new instances, and
// waits for the last one's end.
const endingAbility = "ending"

// Hello tells what keeper this is.
func (s *server) Hello(_ context.Context, req *keeperv1.HelloRequest) (*keeperv1.HelloResponse, error) {
	s.retention.limitAll(req.GetLogMaxTotal())
	abilities := map[string]string{"lane": s.lane.Name(), "log_dir": s.cfg.LogDir}
	for _, a := range s.limiter.Abilities(s.lane) {
		abilities["limits."+a.Limit] = a.How
		if a.How == "" {
			abilities["lacking."+a.Limit] = a.Why
		}
	}
	if _, _, ending := s.census(); ending {
		abilities[endingAbility] = "1"
	}
	return &keeperv1.HelloResponse{
		Version: s.cfg.Version, Protocol: Protocol, Pid: int32(os.Getpid()), BootId: s.boot, Abilities: abilities,
	}, nil
}

// List returns every record.
func (s *server) List(context.Context, *keeperv1.ListRequest) (*keeperv1.ListResponse, error) {
	resp := &keeperv1.ListResponse{}
	for _, r := range s.records.All() {
		resp.Records = append(resp.Records, r)
	}
	return resp, nil
}

// watchGrace is how long a watch outlives the keeper's decision to end.
const watchGrace = 200 * time.Millisecond

// Watch sends every record, then those that change, orphans, and what is deleted.
func (s *server) Watch(_ *keeperv1.WatchRequest, stream keeperv1.KeeperService_WatchServer) error {
	w, all := s.records.Watch()
	defer w.Stop()
	for _, r := range all {
		if err := stream.Send(&keeperv1.WatchResponse{Record: r}); err != nil {
			return err
		}
	}
	if err := stream.Send(&keeperv1.WatchResponse{Synced: true}); err != nil {
		return err
	}
	orphans, there := s.orphans.Watch()
	defer orphans.Stop()
	for _, o := range there {
		if err := stream.Send(&keeperv1.WatchResponse{Orphan: o}); err != nil {
			return err
		}
	}
	deleted, gone := s.deleted.Watch()
	defer deleted.Stop()
	for _, d := range gone {
		if err := stream.Send(&keeperv1.WatchResponse{Deleted: d}); err != nil {
			return err
		}
	}
	var sending sync.Mutex
	send := func(m *keeperv1.WatchResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(m)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	// The keeper's end waits for open calls, and this one has none of its own; but who
	// had the keeper end is to hear that before it hears that the keeper is gone.
	defer context.AfterFunc(s.life, func() { time.AfterFunc(watchGrace, cancel) })()
	return rungroup.Run(ctx,
		rungroup.Task{Name: "records", Run: func(ctx context.Context) error {
			return follow(ctx, w, func(r *keeperv1.Record) error { return send(&keeperv1.WatchResponse{Record: r}) })
		}},
		rungroup.Task{Name: "orphans", Run: func(ctx context.Context) error {
			return follow(ctx, orphans, func(o *keeperv1.Orphan) error { return send(&keeperv1.WatchResponse{Orphan: o}) })
		}},
		rungroup.Task{Name: "deleted", Run: func(ctx context.Context) error {
			return follow(ctx, deleted, func(d *keeperv1.LogsDeleted) error { return send(&keeperv1.WatchResponse{Deleted: d}) })
		}},
	)
}

// follow sends what changes until ctx ends.
func follow[K comparable, V any](ctx context.Context, w *watch.Watcher[K, V], send func(V) error) error {
	for {
		changed, _, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, v := range changed {
			if err := send(v); err != nil {
				return err
			}
		}
	}
}

func notFound(id string) error { return status.Errorf(codes.NotFound, "no instance %q", id) }

// Signal signals a leader. One that has ended is no error.
func (s *server) Signal(ctx context.Context, req *keeperv1.SignalRequest) (*keeperv1.SignalResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return nil, notFound(req.GetInstance())
	}
	var err error
	i.do(ctx, func() {
		if !isClosed(i.dead) && i.leader != nil {
			i.condemned.Store(i.condemned.Load() || unix.Signal(req.GetSignal()) == unix.SIGKILL)
			err = i.leader.Signal(unix.Signal(req.GetSignal()))
		}
	})
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "signal %d: %v", req.GetSignal(), err)
	}
	return &keeperv1.SignalResponse{}, ctx.Err()
}

// Kill kills a tree and returns when none of it is left. A caller that leaves
// does not stop that: the leader's end alone has the rest killed.
func (s *server) Kill(ctx context.Context, req *keeperv1.KillRequest) (*keeperv1.KillResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return nil, notFound(req.GetInstance())
	}
	if !isClosed(i.dead) {
		i.condemned.Store(true)
		if err := i.tree.Kill(ctx); err != nil {
			return nil, status.Errorf(codes.Internal, "kill %s: %v", i.id, err)
		}
	}
	select {
	case <-i.gone:
		return &keeperv1.KillResponse{}, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// Forget removes the record of an instance that is gone. One that nobody knows is
// forgotten already.
func (s *server) Forget(_ context.Context, req *keeperv1.ForgetRequest) (*keeperv1.ForgetResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return &keeperv1.ForgetResponse{}, nil
	}
	if !i.isGone() {
		return nil, status.Errorf(codes.FailedPrecondition, "instance %s still has processes", i.id)
	}
	i.once.Do(func() { close(i.forget) })
	<-i.forgotten
	if err := s.sweepForgotten(time.Now()); err != nil {
		s.cfg.Log.Warn("cannot remove what was kept for output that is gone", "error", err)
	}
	return &keeperv1.ForgetResponse{}, nil
}

// Annotate adds to a record.
func (s *server) Annotate(ctx context.Context, req *keeperv1.AnnotateRequest) (*keeperv1.AnnotateResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return nil, notFound(req.GetInstance())
	}
	if !i.do(ctx, func() {
		i.change(func(r *keeperv1.Record) {
			if r.Annotations == nil {
				r.Annotations = map[string]string{}
			}
			maps.Copy(r.Annotations, req.GetAnnotations())
		})
	}) {
		return nil, notFound(req.GetInstance())
	}
	return &keeperv1.AnnotateResponse{}, nil
}

// Members lists the live processes of an instance.
func (s *server) Members(_ context.Context, req *keeperv1.MembersRequest) (*keeperv1.MembersResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return nil, notFound(req.GetInstance())
	}
	pids, err := i.tree.Pids()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "processes of %s: %v", i.id, err)
	}
	resp := &keeperv1.MembersResponse{}
	for _, pid := range pids {
		resp.Pids = append(resp.Pids, int32(pid))
	}
	return resp, nil
}

// Memory tells how much memory an instance uses.
func (s *server) Memory(_ context.Context, req *keeperv1.MemoryRequest) (*keeperv1.MemoryResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return nil, notFound(req.GetInstance())
	}
	pids, err := i.tree.Pids()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "processes of %s: %v", i.id, err)
	}
	return &keeperv1.MemoryResponse{Bytes: memory(pids, req.GetAbove())}, nil
}

// memory sums up what processes use. Only where the cheap sum, which counts what
// they share once for each, is above the limit are shares looked at: that makes
// the kernel walk all pages.
func memory(pids []int, above int64) int64 {
	resident := make([]int64, len(pids))
	sum := int64(0)
	for i, pid := range pids {
		resident[i], _ = proc.Resident(pid) // one that has ended uses none
		sum += resident[i]
	}
	if sum <= above {
		return sum
	}
	sum = 0
	for i, pid := range pids {
		share, err := proc.Share(pid)
		if err != nil { // it may not be looked into
			share = resident[i]
		}
		sum += share
	}
	return sum
}

// Owner names the instance that a process is a member of.
func (s *server) Owner(_ context.Context, req *keeperv1.OwnerRequest) (*keeperv1.OwnerResponse, error) {
	id, ok := s.lane.Owner(int(req.GetPid()))
	if !ok {
		return &keeperv1.OwnerResponse{}, nil
	}
	return &keeperv1.OwnerResponse{Instance: id}, nil
}

// Shutdown ends the keeper. With kill it answers when no instance is left, with
// leave it ends at once; with neither, when the last instance has ended.
func (s *server) Shutdown(ctx context.Context, req *keeperv1.ShutdownRequest) (*keeperv1.ShutdownResponse, error) {
	s.mu.Lock()
	s.ending = true // waitForEnd is woken below: an answer is to be sent first
	s.mu.Unlock()
	defer s.wake()
	if req.GetLeave() {
		s.leave.Do(func() { close(s.leaving) })
	}
	if !req.GetKill() {
		return &keeperv1.ShutdownResponse{}, nil
	}
	for _, i := range s.all() {
		if !isClosed(i.dead) {
			if err := i.tree.Kill(ctx); err != nil {
				s.cfg.Log.Warn("cannot kill", "instance", i.id, "error", err)
			}
		}
	}
	for _, i := range s.all() {
		select {
		case <-i.gone:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if live, _, _ := s.census(); live == 0 { // none is on its way either
		s.killChildren(ctx)
	}
	return &keeperv1.ShutdownResponse{}, nil
}

// sweepOrphans looks for processes that belong to no instance, where the lane lets
// some escape: it reports them, and kills one when no instance of its user is
// left that it may belong to. Looking also lets the lane remember who descends
// from a leader while that lives.
func (s *server) sweepOrphans(ctx context.Context) error {
	if s.lane.Condition() == "" {
		return nil
	}
	const every = 2 * time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	seen := map[int]uint64{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := s.sweep(seen); err != nil && !errors.Is(err, context.Canceled) {
				s.cfg.Log.Warn("cannot look for orphans", "error", err)
			}
		}
	}
}
