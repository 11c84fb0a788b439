package spawn

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The signals that glibc keeps to itself and Go's runtime never touches. Whoever
// starts programs by glibc's posix_spawn, as make does, hands them down ignored.
const (
	firstReserved = 32
	lastReserved  = 33
)

// kernelAction is the kernel's struct sigaction on 64-bit Linux.
type kernelAction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const ignored = 1 // SIG_IGN

// DefaultReservedSignals gives the signals 32 and 33 their default action where
// they were ignored when this process was started, so that no program started
// from it inherits that. All others are Go's, which resets what it catches.
func DefaultReservedSignals() error {
	for sig := uintptr(firstReserved); sig <= lastReserved; sig++ {
		var old, byDefault kernelAction
		size := unsafe.Sizeof(old.mask)
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&old)), size, 0, 0); errno != 0 {
			return errno
		}
		if old.handler != ignored {
			continue
		}
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&byDefault)), 0, size, 0, 0); errno != 0 {
			return errno
		}
	}
	return nil
}
