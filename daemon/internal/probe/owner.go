package probe

import (
	"context"
	"fmt"
	"slices"

	"github.com/roostd/roost/daemon/internal/app"
)

// ownership is whose a socket is.
type ownership int

const (
	ours    ownership = iota + 1 // a process of the instance has it
	foreign                      // a process that is not of the instance has it
	nobodys                      // no process was seen to have it, nor is it ours by uid
)

// owner tells whose a socket is. The socket was seen before, so that whoever had
// it then is looked at. pid is the stranger's where there is one.
func (t *target) owner(ctx context.Context, inode, uid uint32) (who ownership, pid int, err error) {
	hidden := false
	has := func(pid int) bool {
		found, err := t.proc.holds(pid, inode)
		hidden = hidden || err != nil
		return found
	}
	// The leader is nearly always the one, and its cgroup is nearer than the keeper.
	if has(t.info.PID) {
		return ours, 0, nil
	}
	if slices.ContainsFunc(cgroupPids(t.info.Cgroup), has) {
		return ours, 0, nil
	}
	pids, err := t.p.Pids(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("list the processes of the instance: %w", err)
	}
	if slices.ContainsFunc(pids, has) {
		return ours, 0, nil
	}
	who, pid, err = t.stranger(ctx, inode)
	if err == nil && who == nobodys && hidden && uid == uint32(t.info.UID) {
		t.noteWeak(uid)
		who = ours
	}
	return who, pid, err
}

// stranger looks for a process outside the instance that has the socket.
func (t *target) stranger(ctx context.Context, inode uint32) (ownership, int, error) {
	pid, found := t.proc.holder(inode)
	if !found {
		return nobodys, 0, nil
	}
	// It may have been forked since the instance's processes were listed.
	pids, err := t.p.Pids(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("list the processes of the instance: %w", err)
	}
	if slices.Contains(pids, pid) {
		return ours, 0, nil
	}
	return foreign, pid, nil
}

// noteWeak says once that the socket's uid had to stand in for its owner.
func (t *target) noteWeak(uid uint32) {
	if t.weak {
		return
	}
	t.weak = true
	message := fmt.Sprintf("the links of /proc/PID/fd of the app's processes cannot be read (no CAP_SYS_PTRACE): "+
		"a socket counts as the app's own where it belongs to uid %d", uid)
	t.cfg.Log.Debug("weak owner check", "app", t.l.Spec.Name, "instance", t.l.ID, "uid", uid)
	if t.cfg.Condition != nil {
		t.cfg.Condition(t.l.Spec.Name, t.l.ID, app.CondWeakOwnerCheck, message)
	}
}

// ownInodes is the set of sockets that processes of the instance have open.
func (t *target) ownInodes(ctx context.Context) map[uint32]bool {
	pids, err := t.p.Pids(ctx)
	if err != nil {
		pids = nil
	}
	if !slices.Contains(pids, t.info.PID) {
		pids = append(pids, t.info.PID)
	}
	own := map[uint32]bool{}
	for _, pid := range pids {
		_ = t.proc.sockets(pid, func(inode uint32) bool {
			own[inode] = true
			return true
		})
	}
	return own
}
