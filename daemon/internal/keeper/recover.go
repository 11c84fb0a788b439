package keeper

import (
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// takeOverAll takes over what an earlier keeper left. Its instances are not this
// keeper's children, so their exits cannot be waited for: those of this boot are
// killed and their exit called unknown. Those of another boot are history, and
// nothing is signalled for them: their pids are others' now.
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
		r.Gone = true
		if r.GetExit() == nil {
			r.Exit = exitMessage(exit{unknown: true}, false)
		}
		close(i.dead)
		close(i.gone)
	} else {
		leader := tree.Leader{PID: int(r.GetPid()), Ticks: r.GetStartTicks()}
		if i.tree, err = s.lane.Find(i.id, r.GetCgroup(), leader); err != nil {
			s.cfg.Log.Error("cannot find the processes of an instance", "instance", i.id, "error", err)
			close(i.gone)
			s.drop(i)
			return
		}
		i.pumps = s.reopenOutput(i, r)
	}
	if err := i.publish(r); err != nil {
		s.cfg.Log.Error("cannot write a record", "instance", i.id, "error", err)
	}
	close(i.published)
	s.tasks.Go(func() { i.run(s.life) })
	if !past {
		s.cfg.Log.Warn("killing an instance of a keeper that died", "instance", i.id, "pid", r.GetPid())
		s.tasks.Go(func() {
			i.kill(s.life)
			s.limiter.Sweep(i.id)
			exited <- exit{unknown: true}
		})
	}
}

// reopenOutput opens the FIFOs again, so that what the app wrote since the last
// keeper's end is saved while the app, which holds them, still lives.
func (s *server) reopenOutput(i *instance, r *keeperv1.Record) []*pump.Pump {
	var pumps []*pump.Pump
	for _, stream := range []string{"stdout", "stderr"} {
		files := pump.Files{Dir: filepath.Join(s.cfg.LogDir, r.GetApp(), i.id), Stream: stream, GID: s.logGID}
		p, err := pump.Open(s.poller, filepath.Join(i.dir, stream), files, hclog.NewNullLogger())
		if err == nil {
			err = p.Create()
		}
		if err != nil {
			s.cfg.Log.Warn("cannot save the last output", "instance", i.id, "stream", stream, "error", err)
			continue
		}
		pumps = append(pumps, p)
	}
	return pumps
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
