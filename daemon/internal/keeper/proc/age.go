package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// tick is what StartTicks count: USER_HZ, which is the same on all that Go runs on.
const tick = time.Second / 100

// Began returns when a process of this boot began, on our own monotonic clock: its
// age is right though the wall clock was set meanwhile. It is zero where the kernel
// does not tell.
func Began(startTicks uint64) time.Time {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return time.Time{}
	}
	age := time.Duration(boot.Nano()) - time.Duration(startTicks)*tick
	return time.Now().Add(-max(0, age))
}
