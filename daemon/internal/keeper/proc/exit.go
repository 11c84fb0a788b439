package proc

import (
	"context"
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Wait returns nil once the process has ended, whoever its parent is. A handle is
// waited for by one goroutine at a time.
func (h Handle) Wait(ctx context.Context) error {
	fd, err := unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os would not poll it
		_ = unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	err = raw.Read(func(uintptr) bool { return h.Ended() })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Ended tells whether the process has ended: its pidfd polls readable
// (pidfd_open(2)).
func (h Handle) Ended() bool {
	for {
		p := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0
	}
}

// Status returns how the process of the handle ended, which has the number pid and
// started at ticks; false where the kernel does not tell. Anybody may ask, not
// only the parent, whose wait takes the status away from everybody else.
func (h Handle) Status(pid int, ticks uint64) (unix.WaitStatus, bool) {
	// First what it may still be: both ways exclude each other, and it can be reaped
	// between the two questions, so the first is asked again.
	if ws, ok := h.reapedStatus(); ok {
		return ws, true
	}
	if ws, ok := zombieStatus(pid, ticks); ok {
		return ws, true
	}
	return h.reapedStatus()
}

// pidfdInfo is the first version of struct pidfd_info (linux/pidfd.h).
type pidfdInfo struct {
	mask     uint64
	_        uint64 // cgroupid
	_        [11]uint32
	exitCode int32
}

const (
	pidfdGetInfo  = 0xc040ff0b // _IOWR(0xFF, 11, struct pidfd_info), since Linux 6.13
	pidfdInfoExit = 1 << 3     // since Linux 6.15: once the process was reaped
)

// reapedStatus is that of a process whose parent has taken its status already.
func (h Handle) reapedStatus() (unix.WaitStatus, bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(h.fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&pidfdInfoExit == 0 {
		return 0, false
	}
	return unix.WaitStatus(info.exitCode), true
}

// zombieStatus is that of a process nobody has waited for yet: field 52 of its
// stat, which reads 0 for whoever may not trace it (proc_pid_stat(5)). So a 0
// counts only for root and where the process was of our own user.
func zombieStatus(pid int, ticks uint64) (unix.WaitStatus, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	s, err := parseStat(data)
	if err != nil || s.StartTicks != ticks || !s.Dead() {
		return 0, false
	}
	if s.exitCode != 0 {
		return unix.WaitStatus(s.exitCode), true
	}
	uid, err := UID(pid)
	return 0, err == nil && (os.Geteuid() == 0 || uid == os.Geteuid())
}
