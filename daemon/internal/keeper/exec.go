package keeper

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// inheritedExec is the descriptor that a keeper has roost-exec at as it is started.
	inheritedExec = 3
	// leastExec is the least that it has it at: what is below is moved about as a
	// child is made.
	leastExec = 16
)

const ownDescriptors = "/proc/self/fd/"

// InheritedExec is what a keeper may call the roost-exec that it is given.
var InheritedExec = ownDescriptors + strconv.Itoa(inheritedExec)

// holdExec opens roost-exec for as long as the keeper lives, so that one of another
// version that takes its place is not that keeper's, whose orders it would not
// understand. Its name is what to execute.
func holdExec(path string) (*os.File, error) {
	if n, err := strconv.Atoi(strings.TrimPrefix(path, ownDescriptors)); err == nil {
		defer unix.Close(n) // no app is to have it
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	held, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, leastExec)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(held), ownDescriptors+strconv.Itoa(held)), nil
}

// nameProcess has ps call the keeper by its name, and not exe, as which it was started.
func nameProcess() {
	_ = os.WriteFile("/proc/self/comm", []byte("roostd"), 0)
}
