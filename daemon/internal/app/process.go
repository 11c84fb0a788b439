package app

import (
	"context"
	"syscall"
	"time"
)

// Process is one launched process tree.
type Process interface {
	Info() ProcessInfo
	// Exited is closed when the leader has ended; the keeper then kills what is
	// left of its tree.
	Exited() <-chan struct{}
	// Exit is valid once Exited is closed.
	Exit() Exit
	// Gone is closed when no process of the tree is left.
	Gone() <-chan struct{}
	// Signal signals the leader. An ended one is no error.
	Signal(ctx context.Context, sig syscall.Signal) error
	// Kill kills the whole tree.
	Kill(ctx context.Context) error
	// Exec runs a probe's command beside the process, as its user and with its
	// environment. A nil error means it exited 0.
	Exec(ctx context.Context, argv []string, timeout time.Duration) error
	// Pids lists the live processes of the tree.
	Pids(ctx context.Context) ([]int, error)
	// Memory tells how many bytes the processes of the tree use together. It is
	// exact where that is above the limit, else at least that.
	Memory(ctx context.Context, above int64) (int64, error)
	// Notified is closed once a process of the tree has sent READY=1 (sd_notify).
	Notified() <-chan struct{}
	// Annotate adds notes to the process's record, for a later daemon's Recover.
	Annotate(ctx context.Context, notes map[string]string) error
	// Unblock lets a process that is to end write beyond its app's limits, for a while:
	// with logs.when_full: block it may wait for room.
	Unblock(ctx context.Context) error
	// Forget drops the record of a process that is gone. Its output stays.
	Forget(ctx context.Context) error
}
