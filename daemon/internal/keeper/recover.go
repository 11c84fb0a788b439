package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

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
//
// An error is that of a keeper that cannot have what one of them needs. It must not
// go on, or would take what it does not know of for gone; all is still as it was,
// for the next one.
func (s *server) takeOverAll() error {
	records, err := readRecords(s.cfg.StateDir, s.cfg.LogDir, s.cfg.Log)
	if err != nil {
		return fmt.Errorf("cannot read what runs: %w", err)
	}
	forgotten, err := forgottenRecords(s.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("cannot read what ran: %w", err)
	}
	s.limitPast(slices.Concat(records, forgotten))
	named := map[string]bool{}
	var found []*instance
	for _, r := range records {
		named[r.GetInstance()] = true
		i, err := s.find(r)
		if err != nil {
			return fmt.Errorf("cannot take over instance %s: %w", r.GetInstance(), err)
		}
		found = append(found, i)
	}
	for _, i := range found {
		s.takeOver(i)
	}
	for _, id := range s.lane.Left() {
		if !named[id] { // its keeper died between its spawn and its record
			s.tasks.Go(func() { s.killUnnamed(id) })
		}
	}
	return nil
}

// limitPast sets the limits of apps as their newest instance had them, a forgotten one
// too: of an app of which none lives, nothing else tells whether its output is to be
// kept.
func (s *server) limitPast(records []*keeperv1.Record) {
	slices.SortFunc(records, func(a, b *keeperv1.Record) int {
		return a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime())
	})
	for _, r := range records {
		s.retention.limit(r.GetApp(), r.GetLogs())
	}
}

// find makes an instance of a record, which is gone where nothing can be left of it.
func (s *server) find(r *keeperv1.Record) (*instance, error) {
	i, err := s.reserve(r.GetInstance(), int(r.GetUid()))
	if err != nil {
		return nil, err
	}
	i.record = r
	if r.GetBootId() != s.boot || r.GetGone() {
		s.bury(i, r)
		return i, nil
	}
	return i, s.adopt(i, r)
}

// takeOver lets an instance that was found go on.
func (s *server) takeOver(i *instance) {
	r, past := i.record, i.isGone()
	exited := make(chan exit, 1)
	i.exited = exited
	if err := i.publish(r); err != nil {
		s.cfg.Log.Error("cannot write a record", "instance", i.id, "error", err)
	}
	if !past {
		i.endProbes(s.life)
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
	if o := r.GetOutput(); o != nil { // what was lost stays lost, and nothing waits
		o.Fault, o.Waits = "", false
	}
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
	i.order = func() (spawn.Order, error) { return spawn.OrderOf(leader.PID, leader.Ticks) }
	i.pumps, err = s.reopenOutput(i, r)
	return err
}

// awaitExit waits until the leader of an adopted instance has ended, and tells how.
func (s *server) awaitExit(i *instance, r *keeperv1.Record, exited chan<- exit) {
	if i.leader == nil {
		if e, ok := s.missedExit(i.id, r); ok {
			exited <- e
		}
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
// have written it down, and the daemon may have seen it. It is false where this
// keeper ends before anybody could tell.
func (s *server) missedExit(id string, r *keeperv1.Record) (exit, bool) {
	if r.GetExit() != nil {
		return exit{told: r.GetExit()}, true
	}
	patience := time.NewTimer(reportPatience)
	defer patience.Stop()
	select {
	case <-s.reported:
		s.mu.Lock()
		defer s.mu.Unlock()
		if e := s.reports[id]; e != nil {
			return exit{told: e}, true
		}
	case <-patience.C:
	case <-s.life.Done():
		return exit{}, false
	}
	return exit{unknown: true}, true
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
// keeper's end is in them while the app or a daemon holds them open. A stream that
// cannot be had any more costs that stream; one that could be later is an error.
func (s *server) reopenOutput(i *instance, r *keeperv1.Record) (pumps []*pump.Pump, err error) {
	missing := false
	for _, stream := range streams {
		missing = missing || i.hasEnded() && !isHeld(filepath.Join(i.dir, stream))
		files := pump.Files{Dir: filepath.Join(s.cfg.LogDir, r.GetApp(), i.id), Stream: stream, GID: s.logGID}
		p, err := s.reopenStream(filepath.Join(i.dir, stream), r.GetApp(), files, s.cfg.Log.With("instance", i.id))
		if proc.Scarce(err) {
			return pumps, err
		}
		if err != nil {
			s.cfg.Log.Error("cannot save the output", "instance", i.id, "stream", stream, "error", err)
			continue
		}
		pumps = append(pumps, p)
	}
	i.output.takeUp(r.GetOutput(), len(pumps), missing)
	r.Output = i.output.message()
	return pumps, nil
}

// hasEnded tells whether the leader of an adopted instance has.
func (i *instance) hasEnded() bool { return i.leader == nil || i.leader.Ended() }

// isHeld tells whether somebody has a FIFO open for reading: the app does, and the
// daemon that saw it start. Where nobody has, what was in it is gone with the last
// one who had.
func isHeld(fifo string) bool {
	fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return !errors.Is(err, unix.ENXIO)
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
