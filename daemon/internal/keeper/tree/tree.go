// Package tree keeps the processes of an instance together, whatever they fork,
// so that all of them can be found and killed.
//
// There are three lanes, of which Detect takes the best that the host allows: a
// cgroup v2 each, a cgroup of a v1 hierarchy each, or none at all, where a
// process is told to be a member by what it descends from. Only the last can
// err, and says so in Condition.
package tree

import (
	"context"
	"os"
	"time"
)

// Lane makes the trees of one keeper.
type Lane interface {
	// Name is cgroup2, freezer, pids or scan.
	Name() string
	// Condition is why a kill may miss a process; "" where it cannot.
	Condition() string
	// New makes the tree of an instance that is about to be spawned.
	New(id string) (Tree, error)
	// Find returns the tree of an instance that an earlier keeper spawned, by its
	// cgroup's folder ("" for none) and its leader.
	Find(id, dir string, leader Leader) (Tree, error)
	// Left names the trees that earlier keepers left behind.
	Left() []string
	// Owner names the tree that a process is in.
	Owner(pid int) (id string, ok bool)
	// Orphans returns the processes that came down to the keeper and that no sign
	// ascribes to a tree.
	Orphans() ([]Orphan, error)
	// Delegates tells whether its trees' own cgroups have a v2 controller.
	Delegates(controller string) bool
	// Close removes what the lane made, as far as it is empty.
	Close()
}

// Tree is the processes of one instance, or of one probe beside it.
type Tree interface {
	// Dir is its cgroup's folder, "" where it has none.
	Dir() string
	// Join says how a process is born into it. Close must be called.
	Join() (Join, error)
	// Lead tells which process leads it, once it is spawned.
	Lead(Leader)
	// Pids returns the processes in it, dead ones left out.
	Pids() ([]int, error)
	// Kill kills every process in it and returns when none is left.
	Kill(ctx context.Context) error
	// Sub makes a tree within it, which is killed with it.
	Sub(name string) (Tree, error)
	// Remove forgets the tree, which must be empty.
	Remove() error
}

// Leader is the process that was spawned into a tree.
type Leader struct {
	PID   int
	Ticks uint64
	UID   int // whom it runs as
}

// Join is how a process is born into a tree.
type Join struct {
	FD    int      // of a cgroup for CLONE_INTO_CGROUP, -1 for none
	Procs []string // cgroup.procs files that it enters before it becomes the app
	dir   *os.File
}

// Close ends the use of FD.
func (j Join) Close() {
	if j.dir != nil {
		_ = j.dir.Close()
	}
}

// Orphan is a process whose instance nobody can tell.
type Orphan struct {
	PID   int
	Ticks uint64
	UID   int
}

// backoff waits between two looks: at first briefly, as a killed process is gone
// within a millisecond, at last rarely, as one that hangs in the kernel may hang
// for hours.
type backoff time.Duration

const (
	backoffFirst = backoff(500 * time.Microsecond)
	backoffLast  = backoff(50 * time.Millisecond)
)

func (b *backoff) wait(ctx context.Context) error {
	t := time.NewTimer(time.Duration(*b))
	defer t.Stop()
	*b = min(2**b, backoffLast)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
