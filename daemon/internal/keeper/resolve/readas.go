package resolve

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of an env file.
const maxFile = 1 << 20

// ReadAs reads a regular file with the rights of an identity.
func ReadAs(path string, id Identity) (string, error) {
	if !id.Switch || id.UID == 0 {
		return readRegular(path)
	}
	type result struct {
		text string
		err  error
	}
	done := make(chan result)
	go func() {
		// This thread is never unlocked: it ends with its goroutine, and its rights
		// with it. Go starts no other thread from it meanwhile.
		runtime.LockOSThread()
		var r result
		defer func() { done <- r }()
		r.text, r.err = readWithRights(path, id)
	}()
	r := <-done
	return r.text, r.err
}

// readWithRights drops this thread's rights for good. Groups of a thread can be
// dropped but not set without a pointer into the kernel's arguments, so each
// group is tried in the one place that takes a number, the file system's group.
func readWithRights(path string, id Identity) (string, error) {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return "", os.NewSyscallError("setgroups", errno)
	}
	first := true
	var text string
	var err error
	for _, gid := range append([]int{id.GID}, id.Groups...) {
		if !first && gid == id.GID {
			continue
		}
		if text, err = readWithGroup(path, id.UID, gid); !errors.Is(err, os.ErrPermission) {
			break
		}
		first = false
	}
	return text, err
}

func readWithGroup(path string, uid, gid int) (string, error) {
	// The group first, while there is the right to; and back to root for the next.
	if _, err := unix.SetfsuidRetUid(0); err != nil {
		return "", err
	}
	if _, err := unix.SetfsgidRetGid(gid); err != nil {
		return "", err
	}
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		return "", err
	}
	// These calls have no failure of their own: asking again tells what is set.
	if now, _ := unix.SetfsuidRetUid(uid); now != uid {
		return "", fmt.Errorf("setfsuid %d: %w", uid, unix.EPERM)
	}
	if now, _ := unix.SetfsgidRetGid(gid); now != gid {
		return "", fmt.Errorf("setfsgid %d: %w", gid, unix.EPERM)
	}
	return readRegular(path)
}

func readRegular(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang us
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return string(data), err
}
