package tree

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
)

// InstanceVariable is in the environment of every process of an instance, unless
// a program wrote over it.
const InstanceVariable = "ROOST_INSTANCE"

// scanLane holds a tree together without a cgroup. It leans on the keeper being a
// child subreaper: whatever a process forks, and however often, the topmost
// ancestor below the keeper is the leader of a tree, or an orphan that came down
// to the keeper when its parent ended.
//
// A process is a member of a tree when it leads it, when it was once seen in it,
// when its session or process group is the leader's, when its parent is a member,
// or when it is an orphan whose environment names the instance, or that no other
// tree can have left.
type scanLane struct {
	keeper int
	why    error // of there being no cgroup
	mu     sync.Mutex
	trees  map[string]*scanTree
}

func newScanLane(keeper int, why error) *scanLane {
	return &scanLane{keeper: keeper, why: why, trees: map[string]*scanTree{}}
}

func (l *scanLane) Name() string { return LaneScan }

func (l *scanLane) Condition() string {
	text := "this host gives no cgroup, so a process that hides its origin can outlive its instance"
	if l.why != nil {
		text += ": " + strings.ReplaceAll(l.why.Error(), "\n", "; ")
	}
	return text
}

func (l *scanLane) Left() []string { return nil }

func (l *scanLane) Delegates(string) bool { return false }

func (l *scanLane) Close() {}

func (l *scanLane) New(id string) (Tree, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trees[id] != nil {
		return nil, fmt.Errorf("there is a tree of %s already", id)
	}
	t := &scanTree{lane: l, id: id, known: map[int]uint64{}}
	l.trees[id] = t
	return t, nil
}

func (l *scanLane) Find(id, dir string, leader Leader) (Tree, error) {
	if dir != "" { // of a keeper that had cgroups
		return openCgroup(dir), nil
	}
	return l.find(id, leader)
}

// find makes the tree of a leader that was spawned by an earlier keeper.
func (l *scanLane) find(id string, leader Leader) (Tree, error) {
	made, err := l.New(id)
	if err != nil {
		return nil, err
	}
	t := made.(*scanTree)
	l.mu.Lock()
	t.found = true
	l.mu.Unlock()
	t.Lead(leader)
	return t, nil
}

func (l *scanLane) Owner(pid int) (string, bool) {
	members, _, err := l.scan()
	if err != nil {
		return "", false
	}
	for id, list := range members {
		if slices.ContainsFunc(list, func(s proc.Stat) bool { return s.PID == pid }) {
			id, _, _ = strings.Cut(id, "/")
			return id, true
		}
	}
	return "", false
}

func (l *scanLane) Orphans() ([]Orphan, error) {
	_, stats, err := l.scan()
	var orphans []Orphan
	for _, s := range stats {
		if uid, err := proc.UID(s.PID); err == nil {
			orphans = append(orphans, Orphan{PID: s.PID, Ticks: s.StartTicks, UID: uid})
		}
	}
	return orphans, err
}

// scan returns the live members of each tree and the orphans of none, and
// remembers the members.
func (l *scanLane) scan() (members map[string][]proc.Stat, orphans []proc.Stat, err error) {
	all, err := proc.All()
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newClassifier(all, l.keeper, l.trees)
	members = map[string][]proc.Stat{}
	for _, s := range all {
		switch id := c.classify(s.PID); {
		case s.Dead():
		case id != "":
			members[id] = append(members[id], s)
		case c.orphans[s.PID]:
			orphans = append(orphans, s)
		}
	}
	if c.scarcity != nil {
		return nil, nil, c.scarcity
	}
	for id, list := range members {
		// Only these: a number that is free again may be a stranger's tomorrow.
		t := l.trees[id]
		clear(t.known)
		for _, s := range list {
			t.known[s.PID] = s.StartTicks
		}
	}
	return members, orphans, nil
}

// scanTree is a tree without a cgroup. Its fields are guarded by the lane's mu.
type scanTree struct {
	lane   *scanLane
	id     string // of a Sub with the tree's before a slash
	leader Leader
	// found is set where an earlier keeper spawned it: what its processes leave
	// behind came down to others than this keeper, and only its name in their
	// environment tells whose it is.
	found bool
	known map[int]uint64 // pid to start ticks of those last seen in it
}

func (t *scanTree) Dir() string { return "" }

func (t *scanTree) Join() (Join, error) { return Join{FD: -1}, nil }

func (t *scanTree) Lead(leader Leader) {
	t.lane.mu.Lock()
	defer t.lane.mu.Unlock()
	t.leader = leader
	t.known[leader.PID] = leader.Ticks
}

func (t *scanTree) Sub(name string) (Tree, error) { return t.lane.New(t.id + "/" + name) }

func (t *scanTree) Remove() error {
	t.lane.mu.Lock()
	defer t.lane.mu.Unlock()
	maps.DeleteFunc(t.lane.trees, func(id string, _ *scanTree) bool {
		return id == t.id || strings.HasPrefix(id, t.id+"/")
	})
	return nil
}

func (t *scanTree) Pids() ([]int, error) {
	members, err := t.members()
	pids := make([]int, 0, len(members))
	for _, s := range members {
		pids = append(pids, s.PID)
	}
	return pids, err
}

// members are those of the tree and of the trees below it.
func (t *scanTree) members() ([]proc.Stat, error) {
	all, _, err := t.lane.scan()
	if err != nil {
		return nil, err
	}
	list := all[t.id]
	for id, sub := range all {
		if strings.HasPrefix(id, t.id+"/") {
			list = append(list, sub...)
		}
	}
	return list, nil
}

func (t *scanTree) Kill(ctx context.Context) error {
	for b := backoffFirst; ; {
		members, err := t.stop()
		if err != nil || len(members) == 0 {
			return err
		}
		if err := signal(members, unix.SIGKILL); err != nil {
			return err
		}
		if err := b.wait(ctx); err != nil {
			return err
		}
	}
}

// stop stops all members, so that none forks between a look and a kill: it looks
// again until it finds none that it has not stopped.
func (t *scanTree) stop() ([]proc.Stat, error) {
	const rounds = 10
	stopped := map[int]uint64{}
	for round := 0; ; round++ {
		members, err := t.members()
		if err != nil {
			return nil, err
		}
		fresh := slices.DeleteFunc(slices.Clone(members), func(s proc.Stat) bool { return stopped[s.PID] == s.StartTicks })
		if len(fresh) == 0 || round == rounds {
			return members, nil
		}
		if err := signal(fresh, unix.SIGSTOP); err != nil {
			return nil, err
		}
		for _, s := range fresh {
			stopped[s.PID] = s.StartTicks
		}
	}
}

func signal(list []proc.Stat, sig unix.Signal) error {
	var errs []error
	for _, s := range list {
		errs = append(errs, proc.Signal(s.PID, s.StartTicks, sig))
	}
	return errors.Join(errs...)
}
