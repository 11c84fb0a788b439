package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
)

// cgroupLane gives each instance a cgroup.
type cgroupLane struct {
	name string
	base base
}

func newCgroupLane(name string, b base) *cgroupLane { return &cgroupLane{name: name, base: b} }

func (l *cgroupLane) Name() string { return l.name }

func (l *cgroupLane) Condition() string { return "" }

func (l *cgroupLane) New(id string) (Tree, error) {
	return makeCgroup(filepath.Join(l.base.dir, id), l.base.controller == "")
}

func (l *cgroupLane) Find(id, dir string, leader Leader) (Tree, error) {
	if dir != "" {
		return openCgroup(dir), nil
	}
	// Of a keeper that had no cgroups.
	return newScanLane(0, nil).find(id, leader)
}

func (l *cgroupLane) Left() []string {
	entries, err := os.ReadDir(l.base.dir)
	if err != nil {
		return nil
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

func (l *cgroupLane) Owner(pid int) (string, bool) {
	groups, err := proc.Cgroups(pid)
	if err != nil {
		return "", false
	}
	below, ok := strings.CutPrefix(groups[l.base.controller], l.base.path+"/")
	id, _, _ := strings.Cut(below, "/")
	return id, ok
}

// Orphans is empty: a cgroup keeps what is forked in it.
func (l *cgroupLane) Orphans() ([]Orphan, error) { return nil, nil }

func (l *cgroupLane) Delegates(controller string) bool {
	if l.base.controller != "" {
		return false
	}
	data, err := os.ReadFile(filepath.Join(l.base.dir, "cgroup.subtree_control"))
	return err == nil && slices.Contains(strings.Fields(string(data)), controller)
}

func (l *cgroupLane) Close() { _ = os.Remove(l.base.dir) }

// cgroupTree is the processes in a cgroup and in those below it.
type cgroupTree struct {
	dir     string
	unified bool
}

func makeCgroup(dir string, unified bool) (Tree, error) {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return cgroupTree{dir, unified}, nil
}

// openCgroup returns the tree of the cgroup at dir, made by an earlier keeper
// maybe in another lane. A folder that is gone is an empty tree.
func openCgroup(dir string) Tree {
	_, err := os.Stat(filepath.Join(dir, "cgroup.events"))
	return cgroupTree{dir, err == nil}
}

func (t cgroupTree) Dir() string { return t.dir }

func (t cgroupTree) Lead(Leader) {}

func (t cgroupTree) Join() (Join, error) {
	if !t.unified {
		return Join{FD: -1, Procs: []string{filepath.Join(t.dir, "cgroup.procs")}}, nil
	}
	dir, err := os.OpenFile(t.dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return Join{}, err
	}
	return Join{FD: int(dir.Fd()), dir: dir}, nil
}

func (t cgroupTree) Sub(name string) (Tree, error) {
	return makeCgroup(filepath.Join(t.dir, name), t.unified)
}

// Pids leaves dead ones out because cgroup.procs does.
func (t cgroupTree) Pids() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(t.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		if !d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return ignoreGone(err)
		}
		for field := range strings.FieldsSeq(string(data)) {
			// 0 is a process outside of this pid namespace.
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

func (t cgroupTree) Kill(ctx context.Context) error {
	for b := backoffFirst; ; {
		if err := t.killOnce(ctx); err != nil {
			return err
		}
		if empty, err := t.empty(); err != nil || empty {
			return err
		}
		if err := b.wait(ctx); err != nil {
			return err
		}
	}
}

func (t cgroupTree) empty() (bool, error) {
	data, err := os.ReadFile(filepath.Join(t.dir, "cgroup.events"))
	if err == nil {
		return strings.Contains(string(data), "populated 0"), nil
	}
	if err = ignoreGone(err); err != nil {
		return false, err
	}
	pids, err := t.Pids()
	return len(pids) == 0, err
}

// killOnce kills what is there now. What was being forked may escape it, but for
// cgroup.kill and where freezing has succeeded.
func (t cgroupTree) killOnce(ctx context.Context) error {
	err := write(t.dir, "cgroup.kill", "1") // since Linux 5.14
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return ignoreGone(err)
	}
	thaw := t.freeze(ctx)
	defer thaw()
	return t.signalAll(unix.SIGKILL)
}

// freeze keeps the processes from forking, as well as this kind of cgroup can,
// and returns what undoes it.
func (t cgroupTree) freeze(ctx context.Context) (thaw func()) {
	if write(t.dir, "cgroup.freeze", "1") == nil {
		return func() { t.writeAll("cgroup.freeze", "0") }
	}
	if write(t.dir, "freezer.state", "FROZEN") == nil {
		t.waitFrozen(ctx)
		return func() { t.writeAll("freezer.state", "THAWED") }
	}
	_ = write(t.dir, "pids.max", "0")
	return func() {}
}

// writeAll writes a file of the cgroup and of those below it: a keeper that was killed
// while it killed a probe has left that one's frozen, where nothing dies.
func (t cgroupTree) writeAll(name, value string) {
	_ = filepath.WalkDir(t.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = write(path, name, value)
		}
		return ignoreGone(err)
	})
}

// waitFrozen gives the v1 freezer a moment. A process deep in the kernel may keep
// it from getting there at all; then the next round tries again.
func (t cgroupTree) waitFrozen(ctx context.Context) {
	const rounds = 8
	b := backoffFirst
	for range rounds {
		state, err := os.ReadFile(filepath.Join(t.dir, "freezer.state"))
		if err != nil || strings.HasPrefix(string(state), "FROZEN") || b.wait(ctx) != nil {
			return
		}
	}
}

// signalAll signals every process in the cgroup. A handle is taken first and the
// pid found in the cgroup once more afterwards, so that a handle whose pid is
// then listed is of a member, or of a dead process, which nothing hurts.
func (t cgroupTree) signalAll(sig unix.Signal) error {
	pids, err := t.Pids()
	if err != nil {
		return err
	}
	handles := map[int]proc.Handle{}
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			handles[pid] = proc.FromFD(fd)
			defer handles[pid].Close()
		}
	}
	again, err := t.Pids()
	var errs []error
	for pid, h := range handles {
		if slices.Contains(again, pid) {
			errs = append(errs, h.Signal(sig))
		}
	}
	return errors.Join(append(errs, err)...)
}

// Remove removes the folders, the lowest first.
func (t cgroupTree) Remove() error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := (cgroupTree{filepath.Join(t.dir, e.Name()), t.unified}).Remove(); err != nil {
				return err
			}
		}
	}
	return ignoreGone(os.Remove(t.dir))
}

// ignoreGone drops the error of a cgroup that was removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
