// Package spawn starts programs by way of roost-exec and reaps every child of the
// keeper: those that it started, and the orphans that came down to it.
package spawn

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Status is how a child ended.
type Status struct {
	Wait unix.WaitStatus
	Time time.Time
}

// Reaper owns all waits of the process. Nothing else in it may wait for a child,
// os/exec included: it would lose the status.
type Reaper struct {
	// spawning is held for reading from before a fork until the child is known,
	// so that no child is reaped as a stranger.
	spawning sync.RWMutex

	mu       sync.Mutex
	children map[int]chan Status
}

// NewReaper returns a reaper; Run makes it work.
func NewReaper() *Reaper { return &Reaper{children: map[int]chan Status{}} }

// Run makes the process a child subreaper, so that whatever its children leave
// behind comes down to it, and reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		r.reap()
		select {
		case <-ctx.Done():
			return nil
		case <-died:
		}
	}
}

// reap reaps all that have ended.
func (r *Reaper) reap() {
	r.spawning.Lock()
	defer r.spawning.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || pid <= 0: // no children, or none that ended
			return
		}
		r.deliver(pid, Status{Wait: ws, Time: time.Now()})
	}
}

func (r *Reaper) deliver(pid int, s Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.children[pid]; ok {
		delete(r.children, pid)
		c <- s // has room for it
	}
}

// spawn forks with fork, which returns the child's pid, and calls born with it
// before the child can be reaped, so that its pid is still its own. The channel
// gets its status once.
func (r *Reaper) spawn(fork func() (int, error), born func(pid int)) (<-chan Status, error) {
	r.spawning.RLock()
	defer r.spawning.RUnlock()
	pid, err := fork()
	if err != nil {
		return nil, err
	}
	c := make(chan Status, 1)
	r.mu.Lock()
	r.children[pid] = c
	r.mu.Unlock()
	born(pid)
	return c, nil
}

// Quiet calls f while no child is being born.
func (r *Reaper) Quiet(f func()) {
	r.spawning.Lock()
	defer r.spawning.Unlock()
	f()
}
