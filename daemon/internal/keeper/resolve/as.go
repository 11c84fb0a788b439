package resolve

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// As calls f with the rights to files that an identity has, groups included. What
// f makes is the identity's. It must start no goroutine that is to have them too.
func As(id Identity, f func() error) error {
	if !id.Switch || id.UID == 0 {
		return f()
	}
	done := make(chan error)
	go func() {
		// This thread is never unlocked: it ends with its goroutine, and its rights
		// with it. Go starts no other thread from it meanwhile.
		runtime.LockOSThread()
		err := dropRights(id)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// dropRights gives this thread an identity's rights to files, for good: without
// the file system's uid 0 it has none of root's capabilities on files either.
func dropRights(id Identity) error {
	// Not by x/sys, whose Setgroups is for all threads.
	groups := make([]uint32, 0, len(id.Groups)+1)
	for _, gid := range append([]int{id.GID}, id.Groups...) {
		groups = append(groups, uint32(gid))
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	// The group first, while there is the right to.
	if _, err := unix.SetfsgidRetGid(id.GID); err != nil {
		return err
	}
	if _, err := unix.SetfsuidRetUid(id.UID); err != nil {
		return err
	}
	// These calls have no failure of their own: asking again tells what is set.
	if now, _ := unix.SetfsuidRetUid(id.UID); now != id.UID {
		return fmt.Errorf("setfsuid %d: %w", id.UID, unix.EPERM)
	}
	if now, _ := unix.SetfsgidRetGid(id.GID); now != id.GID {
		return fmt.Errorf("setfsgid %d: %w", id.GID, unix.EPERM)
	}
	return nil
}
