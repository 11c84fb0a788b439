package probe

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fineTimer wakes with the kernel's precision. Go waits for its own timers by
// epoll, whose time-outs are whole milliseconds, and a start that adds a
// millisecond to a boot of two is felt.
type fineTimer struct {
	fd   int
	file *os.File // of fd; reading it waits
}

func newFineTimer() (*fineTimer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &fineTimer{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

func (t *fineTimer) close() { _ = t.file.Close() }

// sleep waits for d, which is above 0.
func (t *fineTimer) sleep(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if err := unix.TimerfdSettime(t.fd, 0, &spec, nil); err != nil {
		return os.NewSyscallError("timerfd_settime", err)
	}
	var expirations [8]byte
	_, err := t.file.Read(expirations[:])
	return err
}
