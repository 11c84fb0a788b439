package endpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Processes tells of other processes of this machine.
type Processes interface {
	// StartTime returns when a process began, in the kernel's ticks since boot; 0
	// where it cannot be seen. With the pid it names the process for good.
	StartTime(pid int) uint64
	// Wait returns nil once the process that began then is gone.
	Wait(ctx context.Context, pid int, start uint64) error
}

// Kernel is the Processes of this machine.
type Kernel struct{}

// StartTime reads field 22 of /proc/PID/stat.
func (Kernel) StartTime(pid int) uint64 {
	if pid <= 0 {
		return 0
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field is the name in parentheses, which may hold anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const startTime = 22 - 3 // the first field after the name is the third
	if len(fields) <= startTime {
		return 0
	}
	start, _ := strconv.ParseUint(string(fields[startTime]), 10, 64)
	return start
}

// Wait waits by pidfd, in the runtime's poller.
func (k Kernel) Wait(ctx context.Context, pid int, start uint64) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil // it is gone, or what has its pid is a thread of another
	}
	if err != nil {
		return fmt.Errorf("watching process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer func() { _ = f.Close() }()
	if k.StartTime(pid) != start {
		return nil // another process has the pid
	}
	return waitReadable(ctx, f)
}

// waitReadable returns nil once f polls readable, as a pidfd does when its
// process has ended.
func waitReadable(ctx context.Context, f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
