// Roost-exec is the last step before an app: the keeper starts it in the app's
// place, it puts on the app's identity and limits, and becomes the app in the
// same pid. It is a program of its own because every start waits for it: it
// imports os and syscall only, and so reaches main in a fraction of the time
// that a program with gRPC in it takes.
//
// It is told nothing by arguments or environment, which others could read. What
// to do comes on descriptor 3 (see orders). On descriptor 4 it hears when to go on,
// once the keeper has written down that it is there, or that the keeper has died, and
// ends; a failure goes out on it, and it closes by itself when the app's program
// takes over. Descriptor 5 is the app's listening socket, if it gets one.
package main

import (
	"os"
	"syscall"
)

// The descriptors that the keeper passes beside stdin, stdout and stderr.
const (
	ordersFD = 3
	lineFD   = 4
	socketFD = 5
	// firstListenFD is where the systemd protocol has the first socket.
	firstListenFD = 3
)

// The numbers of close_range(2), which package syscall lacks. They are the same
// on every architecture.
const (
	sysCloseRange     = 436
	closeRangeCloexec = 4
)

func main() {
	syscall.CloseOnExec(lineFD)
	o, ok := readOrders()
	if !ok {
		fail("exec", syscall.EPROTO, "roost-exec is of another version than the keeper")
	}
	joinCgroups(o)
	setLimits(o)
	setIdentity(o)
	if err := os.Chdir(o.dir); err != nil {
		fail("dir", err, o.dir)
	}
	env := o.env
	if o.socket {
		env = append(env, "LISTEN_PID="+decimal(syscall.Getpid()))
	}
	placeSocket(o)
	awaitGo()
	fail("exec", syscall.Exec(o.path, o.argv, env), o.path)
}

// joinCgroups enters the v1 hierarchies; into a v2 cgroup it was born.
func joinCgroups(o orders) {
	for _, procs := range o.cgroups {
		f, err := os.OpenFile(procs, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("0")
			_ = f.Close()
		}
		if err != nil {
			fail("cgroup", err, procs)
		}
	}
}

func setLimits(o orders) {
	if n := uint64(o.nofile); n > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fail("limit", err, "nofile "+decimal(o.nofile))
		}
	}
	syscall.Umask(o.umask)
}

// setIdentity drops to the app's user. The groups go first, while there is still
// the right to.
func setIdentity(o orders) {
	if !o.setID {
		return
	}
	if err := syscall.Setgroups(o.groups); err != nil {
		fail("groups", err, "")
	}
	if err := syscall.Setresgid(o.gid, o.gid, o.gid); err != nil {
		fail("groups", err, "gid "+decimal(o.gid))
	}
	if err := syscall.Setresuid(o.uid, o.uid, o.uid); err != nil {
		fail("user", err, "uid "+decimal(o.uid))
	}
}

// placeSocket puts the listening socket where the app looks for it and sees to it
// that nothing else above stderr stays open.
func placeSocket(o orders) {
	_ = syscall.Close(ordersFD)
	first := firstListenFD
	if o.socket {
		if err := syscall.Dup3(socketFD, firstListenFD, 0); err != nil {
			fail("socket", err, "")
		}
		syscall.CloseOnExec(socketFD)
		first++
	}
	// Before Linux 5.11 this fails; the keeper marks all that it opens itself.
	_, _, _ = syscall.RawSyscall(sysCloseRange, uintptr(first), 1<<31-1, closeRangeCloexec)
}

// awaitGo returns once the keeper has said so. One that has died never will, and the
// next would not know of us.
func awaitGo() {
	var word [1]byte
	for {
		n, err := syscall.Read(lineFD, word[:])
		if n == 1 {
			return
		}
		if err != syscall.EINTR {
			os.Exit(127)
		}
	}
}

// fail tells the keeper the step that failed and why, and ends.
func fail(step string, err error, detail string) {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // as os returns it; errors would be one package more
		err = pe.Err
	}
	errno, _ := err.(syscall.Errno) //nolint:errorlint // likewise
	_, _ = syscall.Write(lineFD, []byte(step+"\x00"+decimal(int(errno))+"\x00"+detail))
	os.Exit(127)
}

// decimal is strconv.Itoa for what is not negative.
func decimal(n int) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}
