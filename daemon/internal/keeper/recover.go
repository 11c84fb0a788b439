package keeper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// takeOverAll takes over what an earlier keeper left. Instances of this boot whose
// leader lives go on as if nothing had happened; those whose leader has ended are
// brought to their end. Those of another boot are history, and nothing is signalled
// for them: their pids are others' now.
func (s *server) takeOverAll() {
	records, err := readRecords(s.cfg.StateDir, s.cfg.LogDir)
	if err != nil {
		s.cfg.Log.Error("cannot read all records", "error", err)
	}
	named := map[string]bool{}
	for _, r := range records {
		named[r.GetInstance()] = true
		s.takeOver(r)
	}
	for _, id := range s.lane.Left() {
		if !named[id] { // its keeper died between its spawn and its record
			s.tasks.Go(func() { s.killUnnamed(id) })
		}
	}
}

func (s *server) takeOver(r *keeperv1.Record) {
	i, err := s.reserve(r.GetInstance(), int(r.GetUid()))
	if err != nil {
		return
	}
	i.record = r
	exited := make(chan exit, 1)
	i.exited = exited
	past := r.GetBootId() != s.boot || r.GetGone()
	if past {
		s.bury(i, r)
	} else if err := s.adopt(i, r); err != nil {
		s.cfg.Log.Error("cannot find the processes of an instance", "instance", i.id, "error", err)
		close(i.gone)
		s.drop(i)
		return
	}
	if err := i.publish(r); err != nil {
		s.cfg.Log.Error("cannot write a record", "instance", i.id, "error", err)
	}
	close(i.published)
	if !past {
		i.watchSegments()
		s.retention.look(r.GetApp())
		s.copyOutput(i, r, true)
	}
	s.tasks.Go(func() { i.run(s.life) })
	if !past {
		s.tasks.Go(func() { s.awaitExit(i, r, exited) })
	}
}

// bury makes an instance of which nothing can be left one that is gone.
func (s *server) bury(i *instance, r *keeperv1.Record) {
	r.Gone = true
	if r.GetExit() == nil {
		r.Exit = exitMessage(exit{unknown: true})
	}
	close(i.dead)
	close(i.gone)
}

// adopt finds an instance's processes, limits and output again. Its leader may have
// ended meanwhile; what it left behind is the tree's all the same.
func (s *server) adopt(i *instance, r *keeperv1.Record) error {
	leader := tree.Leader{PID: int(r.GetPid()), Ticks: r.GetStartTicks(), UID: int(r.GetUid())}
	found, err := s.lane.Find(i.id, r.GetCgroup(), leader)
	if err != nil {
		return err
	}
	handle, err := proc.OpenEnding(leader.PID, leader.Ticks)
	switch {
	case err == nil:
		i.leader = &handle
		s.cfg.Log.Info("took over an instance", "instance", i.id, "pid", leader.PID)
	case errors.Is(err, os.ErrNotExist):
		s.cfg.Log.Info("an instance ended while there was no keeper", "instance", i.id, "pid", leader.PID)
	default:
		return err
	}
	i.tree = found
	i.limited = s.limiter.Find(i.id, found)
	i.pumps = s.reopenOutput(i, r) // last: nothing that fails leaves them open
	i.order = func() (spawn.Order, error) { return spawn.OrderOf(leader.PID, leader.Ticks) }
	return nil
}

// awaitExit waits until the leader of an adopted instance has ended, and tells how.
func (s *server) awaitExit(i *instance, r *keeperv1.Record, exited chan<- exit) {
	if i.leader == nil {
		exited <- s.missedExit(i.id, r)
		return
	}
	if err := i.leader.Wait(s.life); err != nil {
		if s.life.Err() == nil {
			s.cfg.Log.Error("cannot wait for an instance", "instance", i.id, "error", err)
		}
		return
	}
	ws, ok := i.leader.Status(int(r.GetPid()), r.GetStartTicks())
	exited <- exit{unknown: !ok, status: spawn.Status{Wait: ws, Time: time.Now()}}
}

// reportPatience is how long a keeper waits for the daemon to tell what it saw while
// there was none.
const reportPatience = 5 * time.Second

// missedExit is how a leader ended while there was no keeper: an earlier one may
// have written it down, and the daemon may have seen it.
func (s *server) missedExit(id string, r *keeperv1.Record) exit {
	if r.GetExit() != nil {
		return exit{told: r.GetExit()}
	}
	patience := time.NewTimer(reportPatience)
	defer patience.Stop()
	select {
	case <-s.reported:
		s.mu.Lock()
		defer s.mu.Unlock()
		if e := s.reports[id]; e != nil {
			return exit{told: e}
		}
	case <-patience.C:
	case <-s.life.Done():
	}
	return exit{unknown: true}
}

// ReportExits takes the exits that the daemon knows of.
func (s *server) ReportExits(_ context.Context, req *keeperv1.ReportExitsRequest) (*keeperv1.ReportExitsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !isClosed(s.reported) {
		s.reports = req.GetExits()
		close(s.reported)
	}
	return &keeperv1.ReportExitsResponse{}, nil
}

// reopenOutput opens the FIFOs again. What the app has written since the last
// keeper's end is in them while the app or a daemon holds them open.
func (s *server) reopenOutput(i *instance, r *keeperv1.Record) []*pump.Pump {
	var pumps []*pump.Pump
	for _, stream := range streams {
		files := pump.Files{Dir: filepath.Join(s.cfg.LogDir, r.GetApp(), i.id), Stream: stream, GID: s.logGID}
		p, err := s.reopenStream(filepath.Join(i.dir, stream), r.GetApp(), files, s.cfg.Log.With("instance", i.id))
		if err != nil {
			s.cfg.Log.Error("cannot save the output", "instance", i.id, "stream", stream, "error", err)
			continue
		}
		pumps = append(pumps, p)
	}
	return pumps
}

func (s *server) reopenStream(fifo, app string, files pump.Files, log hclog.Logger) (*pump.Pump, error) {
	p, err := pump.Open(s.poller, fifo, files, log)
	if err != nil {
		return nil, err
	}
	// Its folder may be gone, by whosever hand: without one the app would fill its
	// FIFO, and wait for ever.
	_, err = pump.MakeDir(s.cfg.LogDir, app, filepath.Base(files.Dir), files.GID)
	if err == nil {
		err = p.Resume()
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (s *server) killUnnamed(id string) {
	t, err := s.lane.New(id)
	if err != nil {
		return
	}
	s.cfg.Log.Warn("killing an instance without a record", "instance", id)
	if err := t.Kill(s.life); err == nil {
		_ = t.Remove()
		s.limiter.Sweep(id)
	}
}
