package spawn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

// Credential is who a program runs as; Groups are exactly the supplementary ones.
type Credential struct {
	UID, GID int
	Groups   []int
}

// Order says what to start, and how.
type Order struct {
	Path       string
	Argv       []string
	Env        []string
	Dir        string
	Umask      int
	NoFile     int         // 0 leaves the limit
	Credential *Credential // nil stays the keeper's
	Stdout     *os.File
	Stderr     *os.File
	Socket     *os.File // a listening socket to pass by the systemd protocol; nil for none
	Tree       tree.Tree
	Procs      []string // more cgroup.procs files to enter
}

// uid is whom the program will run as.
func (o Order) uid() int {
	if o.Credential != nil {
		return o.Credential.UID
	}
	return os.Geteuid()
}

// Child is a program that was started.
type Child struct {
	PID    int
	Ticks  uint64 // its start, field 22 of its stat
	Handle proc.Handle
	Exited <-chan Status // gets how it ended, once
	line   *os.File      // to roost-exec: the word to go on there, why it failed back
}

// Error is where a start failed.
type Error struct {
	Step   string // cgroup, limit, groups, user, dir, socket, exec, fork
	Errno  syscall.Errno
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s: %v", e.Step, e.Errno)
	}
	return fmt.Sprintf("%s %s: %v", e.Step, e.Detail, e.Errno)
}

func (e *Error) Unwrap() error { return e.Errno }

// Spawner starts programs.
type Spawner struct {
	Reaper *Reaper
	// Exec is the path of roost-exec, Args what it is called as, Env what it is
	// given. The app gets none of that.
	Exec string
	Args []string
	Env  []string
	// Keep is the descriptor that Exec leads through, if it does.
	Keep int
}

// Start forks a child that will become the program once Go is called. It is led into
// its tree. Of a keeper that dies before Go nothing is left: the child ends.
func (s *Spawner) Start(o Order) (*Child, error) {
	join, err := o.Tree.Join()
	if err != nil {
		return nil, stepError("cgroup", err, o.Tree.Dir())
	}
	defer join.Close()
	o.Procs = append(join.Procs, o.Procs...)
	orders, err := ordersFile(o)
	if err != nil {
		return nil, stepError("fork", err, "orders")
	}
	defer orders.Close()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, stepError("fork", err, "socketpair")
	}
	defer unix.Close(p[1])
	_ = unix.SetNonblock(p[0], true) // its own end's only, for Go's poller
	c := &Child{line: os.NewFile(uintptr(p[0]), "line to roost-exec")}
	if err := s.fork(c, o, join, orders, p[1]); err != nil {
		_ = c.line.Close()
		return nil, err
	}
	return c, nil
}

func (s *Spawner) fork(c *Child, o Order, join tree.Join, orders *os.File, lineFD int) error {
	null, err := openNull(s.Keep)
	if err != nil {
		return stepError("fork", err, os.DevNull)
	}
	defer null.Close()
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir: "/",
		Env: s.Env,
		Files: []uintptr{
			null.Fd(), orNull(o.Stdout, null).Fd(), orNull(o.Stderr, null).Fd(), orders.Fd(), uintptr(lineFD),
		},
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd, UseCgroupFD: join.FD >= 0, CgroupFD: join.FD},
	}
	if o.Socket != nil {
		attr.Files = append(attr.Files, o.Socket.Fd())
	}
	var unproven error
	c.Exited, err = s.Reaper.spawn(
		func() (int, error) { return forkClean(s.Exec, s.Args, attr) },
		func(pid int) {
			c.PID, c.Handle = pid, proc.FromFD(pidfd)
			var stat proc.Stat
			stat, unproven = proc.ReadStat(pid)
			c.Ticks = stat.StartTicks
			o.Tree.Lead(tree.Leader{PID: pid, Ticks: c.Ticks, UID: o.uid()})
		})
	if err != nil {
		return stepError("fork", err, s.Args[0])
	}
	if unproven != nil { // no later keeper could tell it from another
		_ = c.Handle.Signal(unix.SIGKILL)
		<-c.Exited
		c.Handle.Close()
		return stepError("fork", unproven, "/proc/PID/stat")
	}
	return nil
}

// forkClean forks with no signal blocked, whatever mask the keeper was born with:
// a child takes its parent thread's. The dispositions are the defaults, as the
// keeper catches what may have been ignored when it was started.
func forkClean(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var none, old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &old); err != nil {
		return 0, err
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) }()
	return syscall.ForkExec(path, argv, attr)
}

// openNull opens /dev/null above a descriptor that is to be kept. ForkExec moves what
// is in its way to those right above the highest of its files, over whatever is there.
func openNull(keep int) (*os.File, error) {
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	above, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, keep+1)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(above), os.DevNull), nil
}

func orNull(f, null *os.File) *os.File {
	if f == nil {
		return null
	}
	return f
}

// Go lets the child become the program, or fail. It is called once.
func (c *Child) Go() { _, _ = c.line.Write([]byte{1}) } // Running says why it could not hear it

// Running returns nil once the program runs in the child, or where it failed. A
// child that was killed before is one that runs: its status says the rest.
func (c *Child) Running() error {
	defer c.line.Close()
	message, err := io.ReadAll(c.line)
	switch {
	case len(message) > 0:
		return parseError(message)
	case err != nil && !errors.Is(err, unix.ECONNRESET): // it ended without having heard Go
		return stepError("exec", err, "line to roost-exec")
	}
	return nil
}

func parseError(message []byte) error {
	f := bytes.SplitN(message, []byte{0}, 3)
	if len(f) != 3 {
		return &Error{Step: "exec", Errno: syscall.EPROTO, Detail: strconv.Quote(string(message))}
	}
	errno, _ := strconv.Atoi(string(f[1]))
	return &Error{Step: string(f[0]), Errno: syscall.Errno(errno), Detail: string(f[2])}
}

func stepError(step string, err error, detail string) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok && detail == "" {
		detail = err.Error()
	}
	return &Error{Step: step, Errno: errno, Detail: detail}
}
