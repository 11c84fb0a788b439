// Package proc reads what the kernel says of processes, and signals them only by
// handles that cannot mean another process than the one asked for.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Stat is what /proc/PID/stat says of a process.
type Stat struct {
	PID        int
	State      byte
	PPID       int
	PGID       int
	SID        int
	StartTicks uint64 // since boot; together with PID and the boot it names the process for good
	exitCode   int    // of a dead one, as wait(2) has it
}

// Dead tells whether only the process's exit status is left.
func (s Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

// ReadStat returns the Stat of a process. A process that is not there is
// os.ErrNotExist.
func ReadStat(pid int) (Stat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		if errors.Is(err, syscall.ESRCH) { // it went away between open and read
			err = os.ErrNotExist
		}
		return Stat{}, err
	}
	return parseStat(data)
}

var errStat = errors.New("not a line of /proc/PID/stat")

// Scarce tells whether err is of having run out of something, such as descriptors
// or memory: it says nothing of what was asked for, and may be over in a moment.
func Scarce(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.ENOBUFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// parseStat takes a line of proc_pid_stat(5). The second field is the program's
// name in parentheses, and may have any byte in it, parentheses and spaces
// included, so what counts is its last one.
func parseStat(data []byte) (Stat, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 2 || end < open {
		return Stat{}, errStat
	}
	pid, err := strconv.Atoi(string(data[:open-1]))
	if err != nil {
		return Stat{}, errStat
	}
	f := strings.Fields(string(data[end+1:]))
	const state, ppid, pgid, sid, start, code = 0, 1, 2, 3, 19, 49 // fields 3, 4, 5, 6, 22 and 52
	if len(f) <= start || len(f[state]) != 1 {
		return Stat{}, errStat
	}
	s := Stat{PID: pid, State: f[state][0]}
	var errs [4]error
	s.PPID, errs[0] = strconv.Atoi(f[ppid])
	s.PGID, errs[1] = strconv.Atoi(f[pgid])
	s.SID, errs[2] = strconv.Atoi(f[sid])
	s.StartTicks, errs[3] = strconv.ParseUint(f[start], 10, 64)
	if errors.Join(errs[:]...) != nil {
		return Stat{}, errStat
	}
	if len(f) > code { // since Linux 3.5
		s.exitCode, _ = strconv.Atoi(f[code])
	}
	return s, nil
}

// All returns the Stat of every process, dead ones included.
func All() ([]Stat, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all := make([]Stat, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := ReadStat(pid)
		switch {
		case err == nil:
			all = append(all, s)
		case Scarce(err): // it may be there
			return nil, err
		}
	}
	return all, nil
}

// Environ returns a variable that a process was started with; os.ErrNotExist where
// it has none, or wrote over it.
func Environ(pid int, name string) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", err
	}
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		if v, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
			return string(v), nil
		}
	}
	return "", os.ErrNotExist
}

// UID returns who started the process, its real user: the owner of /proc/PID is
// root for every process that may not be dumped.
func UID(pid int) (int, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if ids, ok := bytes.CutPrefix(line, []byte("Uid:")); ok {
			if f := bytes.Fields(ids); len(f) > 0 {
				return strconv.Atoi(string(f[0]))
			}
		}
	}
	return 0, fmt.Errorf("/proc/%d/status names no user", pid)
}

// BootID names the running kernel's boot.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell this boot from another: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
