package proc

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Handle is a process that was proven to be the one meant: a pid can be given to
// another process at any time, a handle never means another.
type Handle struct{ fd int }

// Open returns a handle of the process pid that started at ticks; os.ErrNotExist
// where there is none, or only another with its number.
func Open(pid int, ticks uint64) (Handle, error) { return open(pid, ticks, Stat.Dead) }

// OpenEnding is Open for a process that may have ended, as long as nobody has taken
// its status: a leader is a zombie for a moment while its other threads end.
func OpenEnding(pid int, ticks uint64) (Handle, error) {
	return open(pid, ticks, func(Stat) bool { return false })
}

func open(pid int, ticks uint64, refuse func(Stat) bool) (Handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			err = os.ErrNotExist
		}
		return Handle{}, err
	}
	// The number was the handle's when this was read, or the handle's process is
	// dead and signalling it does nothing.
	s, err := ReadStat(pid)
	switch {
	case Scarce(err): // nothing is proven
	case err != nil || s.StartTicks != ticks || refuse(s):
		err = os.ErrNotExist
	}
	if err != nil {
		_ = unix.Close(fd)
		return Handle{}, err
	}
	return Handle{fd}, nil
}

// FromFD takes over a pidfd.
func FromFD(fd int) Handle { return Handle{fd} }

// Signal sends sig. A process that has ended is no error.
func (h Handle) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(h.fd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// Close gives the handle back.
func (h Handle) Close() { _ = unix.Close(h.fd) }

// Signal signals the process pid that started at ticks, if it is still there.
func Signal(pid int, ticks uint64, sig unix.Signal) error {
	h, err := Open(pid, ticks)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Signal(sig)
}
