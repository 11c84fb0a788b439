package keeper

import (
	"errors"
	"maps"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

// sweep looks once. seen has the orphans of the look before: what is seen once
// only may be a process that is just becoming another program.
func (s *server) sweep(seen map[int]uint64) error {
	var orphans []tree.Orphan
	var err error
	// A child that is being born is in no tree yet.
	s.spawner.Reaper.Quiet(func() { orphans, err = s.lane.Orphans() })
	if err != nil {
		return err
	}
	before := len(seen)
	now := make(map[int]uint64, before)
	users := s.usersAlive()
	var errs []error
	for _, o := range orphans {
		now[o.PID] = o.Ticks
		if seen[o.PID] != o.Ticks {
			s.cfg.Log.Warn("a process belongs to no instance that can be told", "pid", o.PID, "uid", o.UID)
			continue
		}
		if !users[o.UID] {
			s.cfg.Log.Warn("killing a process that outlived the instances of its user", "pid", o.PID, "uid", o.UID)
			errs = append(errs, proc.Signal(o.PID, o.Ticks, unix.SIGKILL))
		}
	}
	clear(seen)
	maps.Copy(seen, now)
	return errors.Join(errs...)
}

// usersAlive returns the uids of instances that have processes.
func (s *server) usersAlive() map[int]bool {
	users := map[int]bool{}
	for id, r := range s.records.All() {
		if i, ok := s.instance(id); ok && !i.isGone() {
			users[int(r.GetUid())] = true
		}
	}
	return users
}
