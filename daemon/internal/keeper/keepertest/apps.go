package keepertest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runApp is the app of a name, with arguments after a colon.
func runApp(name string) (code int) {
	name, arg, _ := strings.Cut(name, ":")
	switch name {
	case "exit": // exit:CODE
		code, _ = strconv.Atoi(arg)
	case "write": // write:TEXT, to both streams
		fmt.Fprint(os.Stdout, arg)
		fmt.Fprint(os.Stderr, strings.ToUpper(arg))
	case "sleep":
		forever()
	case "term": // term:CODE:TEXT: on SIGTERM it writes TEXT to both streams and exits
		code, text, _ := strings.Cut(arg, ":")
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Fprintln(os.Stdout, "started")
		<-term
		fmt.Fprint(os.Stdout, text)
		fmt.Fprint(os.Stderr, strings.ToUpper(text))
		n, _ := strconv.Atoi(code)
		return n
	case "lines": // 64 lines of 64 bytes for each SIGUSR1, numbered
		more := make(chan os.Signal, 16)
		signal.Notify(more, syscall.SIGUSR1)
		fmt.Fprintln(os.Stderr, "ready")
		for n := 0; ; n += 64 {
			<-more
			for i := range 64 {
				fmt.Fprintf(os.Stdout, "%063d\n", n+i)
			}
		}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		forever()
	case "escape": // escape:FILE: children that try all to outlive their parent; FILE gets their pids
		escape(arg)
		forever()
	case "escape-exit":
		escape(arg)
	case "between": // the middle of a double fork
		start("stubborn", arg, &syscall.SysProcAttr{Setsid: true})
	case "vanish": // vanish:FILE: a process that bears no sign of this one; FILE gets its pid
		vanish(arg)
		forever()
	case "vanish-exit":
		vanish(arg)
	case "vanishing": // the middle of its double fork
		begin("/bin/sh", arg, []string{"sh", "-c", "trap '' TERM HUP; exec sleep 987"}, []string{}, &syscall.SysProcAttr{Setsid: true})
	case "report": // report:FILE
		write(arg, report())
	case "accept": // serves one connection on descriptor 3
		accept()
	case "notify":
		notify("READY=1")
		forever()
	case "memory":
		eat()
	case "share": // share:FILE: two processes with the same SharedSize bytes in memory
		start("map:"+arg, arg+".child", nil)
		mapShared(arg)
		forever()
	case "map":
		mapShared(arg)
		forever()
	default:
		fmt.Fprintln(os.Stderr, "no such app:", name)
		return 2
	}
	return code
}

func forever() {
	<-time.After(time.Hour)
}

// start starts this binary as another app, and appends its pid to file.
func start(name, file string, attr *syscall.SysProcAttr) *os.Process {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, Variable+"=") {
			env = append(env, entry)
		}
	}
	return begin("/proc/self/exe", file, []string{"app"}, append(env, Variable+"="+name), attr)
}

func begin(path, file string, argv, env []string, attr *syscall.SysProcAttr) *os.Process {
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o666)
	if err == nil {
		fmt.Fprintln(f, p.Pid)
		f.Close()
	}
	return p
}

// escape starts a child that ignores SIGTERM, one in a session of its own, and
// one that forks a third into another session and leaves it an orphan.
func escape(file string) {
	start("stubborn", file, nil)
	start("stubborn", file, &syscall.SysProcAttr{Setsid: true})
	between := start("between:"+file, os.DevNull, &syscall.SysProcAttr{Setsid: true})
	_, _ = between.Wait()
	write(file+".done", nil)
}

// vanish starts a daemon: forked twice, in a session of its own, without an
// environment, deaf to SIGTERM.
func vanish(file string) {
	between := start("vanishing:"+file, os.DevNull, &syscall.SysProcAttr{Setsid: true})
	_, _ = between.Wait()
	write(file+".done", nil)
}

// Report is what an app sees of itself.
type Report struct {
	PID, PPID, SID, PGID int
	UID, GID             int
	Groups               []int
	Umask                int
	Dir                  string
	Args, Env            []string
	Inherited            []string // open files beside 0, 1 and 2
	NoFile               uint64
	SigBlocked           string
	SigIgnored           string
}

func report() any {
	// The runtime raises the limit and blocks nothing, so the kernel is asked where
	// it can be.
	r := Report{
		PID: os.Getpid(), PPID: os.Getppid(), UID: os.Getuid(), GID: os.Getgid(), Args: os.Args, Env: os.Environ(),
	}
	r.SID, _ = unix.Getsid(0)
	r.PGID = unix.Getpgrp()
	r.Groups, _ = os.Getgroups()
	r.Umask = unix.Umask(0)
	r.Dir, _ = os.Getwd()
	var lim unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
	r.NoFile = lim.Max
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		for _, e := range entries {
			fd, _ := strconv.Atoi(e.Name())
			target, err := os.Readlink("/proc/self/fd/" + e.Name())
			// What Go opens itself: its poller, and the list that is being read.
			own := strings.HasPrefix(target, "anon_inode:") || strings.HasSuffix(target, "/fd") || strings.HasPrefix(target, "/sys/fs/cgroup/")
			if err == nil && fd > 2 && !own {
				r.Inherited = append(r.Inherited, target)
			}
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "SigBlk":
			r.SigBlocked = strings.TrimSpace(value)
		case "SigIgn":
			r.SigIgnored = strings.TrimSpace(value)
		}
	}
	return r
}

// write writes v to a file that then is there at once and whole.
func write(file string, v any) {
	data, _ := json.Marshal(v)
	_ = os.WriteFile(file+".new", data, 0o666)
	_ = os.Rename(file+".new", file)
}

func accept() {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	c, err := l.Accept()
	if err != nil {
		os.Exit(3)
	}
	fmt.Fprintf(c, "%v %s %s", os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"))
	c.Close()
	l.Close()
}

func notify(message string) {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err == nil {
		_, err = c.Write([]byte(message))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// eat takes memory until it is killed.
func eat() {
	var hold [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		hold = append(hold, b)
		if len(hold) > 4096 {
			return
		}
	}
}

// SharedSize is what each process of the app "share" has in memory of its file.
const SharedSize = 64 << 20

// mapShared has a file in memory, and appends a line to file.mapped when it has.
func mapShared(file string) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Truncate(SharedSize)
	}
	var data []byte
	if err == nil {
		data, err = unix.Mmap(int(f.Fd()), 0, SharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	for i := 0; i < len(data); i += 4096 {
		data[i] = 1
	}
	if done, err := os.OpenFile(file+".mapped", os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
		fmt.Fprintln(done, os.Getpid())
		done.Close()
	}
}
