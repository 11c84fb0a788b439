// Package time gets this file, beside its own, in programs whose wall clock a test sets.
package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// wallClock holds by how many seconds the wall clock is ahead of the host's: the file
// named clock beside the program.
var wallClock = mapWallClock()

func wallAhead() int64 {
	if wallClock == nil {
		return 0
	}
	return atomic.LoadInt64(wallClock)
}

func mapWallClock() *int64 {
	name := make([]byte, 4096)
	n, err := syscall.Readlink("/proc/self/exe", name)
	if err != nil {
		return nil
	}
	for name = name[:n]; len(name) > 0 && name[len(name)-1] != '/'; {
		name = name[:len(name)-1]
	}
	fd, err := syscall.Open(string(name)+"clock", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	_ = syscall.Close(fd)
	if err != nil {
		return nil
	}
	return (*int64)(unsafe.Pointer(&page[0]))
}
