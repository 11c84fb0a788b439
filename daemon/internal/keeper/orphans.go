package keeper

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
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
			s.tell(o, false)
			continue
		}
		if !users.mayOwn(o.UID) {
			s.cfg.Log.Warn("killing a process that outlived the instances of its user", "pid", o.PID, "uid", o.UID)
			s.tell(o, true)
			errs = append(errs, proc.Signal(o.PID, o.Ticks, unix.SIGKILL))
		}
	}
	for pid := range s.orphans.All() {
		if now[pid] == 0 {
			s.orphans.Delete(pid)
		}
	}
	clear(seen)
	maps.Copy(seen, now)
	return errors.Join(errs...)
}

// tell tells the daemon of an orphan.
func (s *server) tell(o tree.Orphan, killed bool) {
	s.orphans.Set(o.PID, &keeperv1.Orphan{Pid: int32(o.PID), Uid: uint32(o.UID), Killed: killed})
}

// users are uids of instances.
type users map[int]bool

// mayOwn tells whether a process of uid may belong to one of the instances: one of
// root's can become anybody.
func (u users) mayOwn(uid int) bool { return u[uid] || u[0] }

// usersAlive returns the uids of instances that may have processes.
func (s *server) usersAlive() users {
	alive := users{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		if !isClosed(i.killed) && !i.isGone() {
			alive[i.uid] = true
		}
	}
	return alive
}

// killUnowned kills the orphans that no instance is left to own, and returns when
// there are none: an instance that was the last of its user is gone only then.
// It is for lanes that cannot name every process of an instance.
// One look is enough, as nothing that becomes a living instance's is of such a
// user.
func (s *server) killUnowned(ctx context.Context) {
	s.killAll(ctx, func() ([]tree.Orphan, error) {
		alive := s.usersAlive() // before the look: who comes later is not looked for
		var orphans []tree.Orphan
		var err error
		s.spawner.Reaper.Quiet(func() { orphans, err = s.lane.Orphans() })
		return slices.DeleteFunc(orphans, func(o tree.Orphan) bool { return alive.mayOwn(o.UID) }), err
	})
}

// killChildren kills all that is left below a keeper that has no instance any more
// and takes none, and returns when it has no child. Being its children is what
// proves that they came down to it; theirs come down to it in turn.
func (s *server) killChildren(ctx context.Context) {
	self := os.Getpid()
	s.killAll(ctx, func() ([]tree.Orphan, error) {
		all, err := proc.All()
		var children []tree.Orphan
		for _, p := range all {
			if p.PPID == self && !p.Dead() {
				uid, _ := proc.UID(p.PID)
				children = append(children, tree.Orphan{PID: p.PID, Ticks: p.StartTicks, UID: uid})
			}
		}
		return children, err
	})
}

// killAll kills what find finds until that is nothing, or nothing that may be
// killed: what changed its identity for good is beyond a keeper that is not root.
func (s *server) killAll(ctx context.Context, find func() ([]tree.Orphan, error)) {
	const first, last = 500 * time.Microsecond, 50 * time.Millisecond
	told := map[int]uint64{}
	for wait := first; ctx.Err() == nil; wait = min(2*wait, last) {
		found, err := find()
		if err != nil {
			s.cfg.Log.Warn("cannot look for orphans", "error", err)
			return
		}
		left := 0
		for _, o := range found {
			if told[o.PID] != o.Ticks {
				told[o.PID] = o.Ticks
				s.tell(o, true)
				s.cfg.Log.Warn("killing a process that outlived the instances of its user", "pid", o.PID, "uid", o.UID)
			}
			if err := proc.Signal(o.PID, o.Ticks, unix.SIGKILL); err != nil {
				s.cfg.Log.Warn("cannot kill", "pid", o.PID, "uid", o.UID, "error", err)
				continue
			}
			left++
		}
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
