package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// procfs is where the kernel shows its processes: /proc.
type procfs string

func (r procfs) path(pid int, name string) string {
	return filepath.Join(string(r), strconv.Itoa(pid), name)
}

// sockets calls f with the inode of each socket that the process has open, the
// newest descriptors first, until f returns false. fs.ErrPermission says that
// the links cannot be read; a process that is gone has none.
func (r procfs) sockets(pid int, f func(inode uint32) bool) error {
	dir := r.path(pid, "fd")
	d, err := os.Open(dir)
	if err != nil {
		return permissionOnly(err)
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close()
	if err != nil {
		return permissionOnly(err)
	}
	for _, name := range slices.Backward(names) {
		link, err := os.Readlink(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		if inode, ok := socketInode(link); ok && !f(inode) {
			return nil
		}
	}
	return nil
}

// holds tells whether the process has the socket open.
func (r procfs) holds(pid int, inode uint32) (found bool, err error) {
	err = r.sockets(pid, func(i uint32) bool {
		found = i == inode
		return !found
	})
	return found, err
}

// holder finds some process that has the socket open. It looks at every process
// of the host: milliseconds.
func (r procfs) holder(inode uint32) (pid int, ok bool) {
	entries, err := os.ReadDir(string(r))
	if err != nil {
		return 0, false
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if found, _ := r.holds(pid, inode); found {
			return pid, true
		}
	}
	return 0, false
}

// describe names the owner of a socket for people: pid and executable, or uid.
func (r procfs) describe(inode, uid uint32) string {
	if pid, ok := r.holder(inode); ok {
		return r.describeProcess(pid)
	}
	return fmt.Sprintf("a process of uid %d", uid)
}

func (r procfs) describeProcess(pid int) string {
	name, err := os.Readlink(r.path(pid, "exe"))
	if err != nil {
		comm, _ := os.ReadFile(r.path(pid, "comm"))
		name = strings.TrimSpace(string(comm))
	}
	if name == "" {
		return fmt.Sprintf("pid %d", pid)
	}
	return fmt.Sprintf("pid %d (%s)", pid, name)
}

// cgroupPids lists the processes of a cgroup, as far as it can be read.
func cgroupPids(dir string) []int {
	if dir == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(string(b)) {
		// A process of another pid namespace is listed as 0.
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// socketInode reads a link such as "socket:[4711]".
func socketInode(link string) (uint32, bool) {
	digits, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 32)
	return uint32(n), err == nil
}

func permissionOnly(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
