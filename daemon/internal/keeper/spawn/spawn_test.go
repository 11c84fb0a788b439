package spawn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/keepertest"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

func TestMain(m *testing.M) {
	keepertest.Main()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		keepertest.Clean()
		os.Exit(code)
	}))
}

// newSpawner returns a spawner whose reaper runs until the test's end.
func newSpawner(tb testing.TB) *Spawner {
	tb.Helper()
	path, err := keepertest.Exec()
	if err != nil {
		tb.Fatal(err)
	}
	r := NewReaper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	return &Spawner{Reaper: r, Exec: path, Args: []string{"roost-exec"}}
}

func newTree(tb testing.TB) tree.Tree {
	tb.Helper()
	lane, err := tree.Detect(tb.TempDir(), tree.LaneScan)
	if err != nil {
		tb.Fatal(err)
	}
	t, err := lane.New("test")
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// order is for this test's own binary as the app of a name.
func order(tb testing.TB, app string) Order {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return Order{
		Path: self, Argv: []string{"app", "two words"}, Env: []string{keepertest.Variable + "=" + app, tree.InstanceVariable + "=test"},
		Dir: "/", Umask: 0o027, Tree: newTree(tb), Stdout: os.Stderr, Stderr: os.Stderr,
	}
}

func start(tb testing.TB, s *Spawner, o Order) (*Child, error) {
	tb.Helper()
	c, err := s.Start(o)
	if err != nil {
		return nil, err
	}
	tb.Cleanup(c.Handle.Close)
	c.Go()
	return c, c.Running()
}

func runReport(t *testing.T, s *Spawner, o Order, file string) keepertest.Report {
	t.Helper()
	o.Env = append(o.Env[:0:0], keepertest.Variable+"=report:"+file, "X=y")
	c, err := start(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if st := <-c.Exited; st.Wait.ExitStatus() != 0 {
		t.Fatalf("the app ended with %v", st.Wait)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r keepertest.Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if r.PID != c.PID {
		t.Errorf("the app's pid is %d, the child's was %d", r.PID, c.PID)
	}
	return r
}

// Before Go there is no app: a keeper that dies has then not written down that there
// is one.
func TestStart_NothingRunsBeforeGo(t *testing.T) {
	s := newSpawner(t)
	for name, end := range map[string]func(c *Child){
		"the keeper died": func(c *Child) { _ = c.line.Close() },
		"it was killed":   func(c *Child) { _ = c.Handle.Signal(unix.SIGKILL) },
	} {
		file := filepath.Join(t.TempDir(), "report")
		o := order(t, "")
		o.Env = append(o.Env[:0:0], keepertest.Variable+"=report:"+file)
		c, err := s.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Handle.Close()
		select {
		case st := <-c.Exited:
			t.Errorf("%s: it ended with %v before", name, st.Wait)
		case <-time.After(50 * time.Millisecond): // it would have run by now
		}
		end(c)
		st := <-c.Exited
		if _, err := os.Stat(file); err == nil || st.Wait.ExitStatus() == 0 {
			t.Errorf("%s: the app ran, and ended with %v", name, st.Wait)
		}
		_ = c.Running()
	}
}

func TestStart_GivesTheAppExactlyWhatWasOrdered(t *testing.T) {
	s := newSpawner(t)
	dir := t.TempDir()
	o := order(t, "")
	o.Dir, o.NoFile = dir, 777
	r := runReport(t, s, o, filepath.Join(dir, "report"))
	if r.SID != r.PID || r.PGID != r.PID || r.PPID != os.Getpid() {
		t.Errorf("session %d, group %d, parent %d of pid %d", r.SID, r.PGID, r.PPID, r.PID)
	}
	if r.Umask != 0o027 || r.Dir != dir || r.NoFile != 777 {
		t.Errorf("umask %o, dir %s, nofile %d", r.Umask, r.Dir, r.NoFile)
	}
	if !slices.Equal(r.Args, []string{"app", "two words"}) || !slices.Contains(r.Env, "X=y") || len(r.Env) != 2 {
		t.Errorf("args %q, env %q", r.Args, r.Env)
	}
	if len(r.Inherited) > 0 {
		t.Errorf("open descriptors %v beside stdin, stdout and stderr", r.Inherited)
	}
}

func TestStart_ResetsSignals(t *testing.T) {
	ignoreReserved(t)
	if err := DefaultReservedSignals(); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t)
	r := runReport(t, s, order(t, ""), filepath.Join(t.TempDir(), "report"))
	if strings.Trim(r.SigBlocked, "0") != "" || strings.Trim(r.SigIgnored, "0") != "" {
		t.Errorf("blocked %s, ignored %s, want none", r.SigBlocked, r.SigIgnored)
	}
}

func TestStart_SwitchesIdentityExactly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	s := newSpawner(t)
	dir := publicDir(t)
	o := order(t, "")
	o.Path = publicCopy(t, dir)
	o.Credential = &Credential{UID: 65534, GID: 65534, Groups: []int{65534, 4242}}
	r := runReport(t, s, o, filepath.Join(dir, "report"))
	if r.UID != 65534 || r.GID != 65534 || !slices.Equal(r.Groups, []int{4242, 65534}) {
		t.Errorf("uid %d, gid %d, groups %v", r.UID, r.GID, r.Groups)
	}
}

// publicDir is a folder that every user may write to; TempDir's parents are private.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "roost-public")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func publicCopy(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "app")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStart_NamesTheStepThatFailed(t *testing.T) {
	s := newSpawner(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Order)
		step   string
		errno  syscall.Errno
	}{
		"no such program": {func(o *Order) { o.Path = "/nonexistent/x" }, "exec", syscall.ENOENT},
		"no program":      {func(o *Order) { o.Path = text }, "exec", syscall.ENOEXEC},
		"not executable":  {func(o *Order) { o.Path = "/etc/passwd" }, "exec", syscall.EACCES},
		"no such folder":  {func(o *Order) { o.Dir = "/nonexistent" }, "dir", syscall.ENOENT},
		"no folder":       {func(o *Order) { o.Dir = "/etc/passwd" }, "dir", syscall.ENOTDIR},
		"no such cgroup":  {func(o *Order) { o.Procs = []string{"/nonexistent/cgroup.procs"} }, "cgroup", syscall.ENOENT},
		"a closed folder": {func(o *Order) {
			o.Dir = t.TempDir()
			os.Chmod(o.Dir, 0o700)
			o.Credential = &Credential{UID: 65534, GID: 65534}
		}, "dir", syscall.EACCES},
	} {
		o := order(t, "sleep")
		tt.change(&o)
		c, err := start(t, s, o)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Step != tt.step || e.Errno != tt.errno {
			t.Errorf("%s: error %v, want step %s, errno %v", name, err, tt.step, tt.errno)
		}
		if c != nil {
			<-c.Exited
		}
	}
}

func TestStart_PassesALargeEnvironment(t *testing.T) {
	s := newSpawner(t)
	o := order(t, "exit:3")
	for i := range 10 {
		o.Env = append(o.Env, fmt.Sprintf("BIG%d=%s", i, strings.Repeat("x", 100<<10)))
	}
	c, err := start(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if st := <-c.Exited; st.Wait.ExitStatus() != 3 {
		t.Errorf("status %v, want exit 3", st.Wait)
	}
}

func TestReaper_ReapsOrphansAndTellsSignals(t *testing.T) {
	s := newSpawner(t)
	file := filepath.Join(t.TempDir(), "pids")
	o := order(t, "escape-exit:"+file)
	c, err := start(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	<-c.Exited
	// Its three children have come down to us; none may stay a zombie.
	data, _ := os.ReadFile(file)
	pids := strings.Fields(string(data))
	if len(pids) != 3 {
		t.Fatalf("pids %q, want three", pids)
	}
	if err := o.Tree.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		waitGone(t, pid)
	}
	c, err = start(t, s, order(t, "sleep"))
	if err != nil {
		t.Fatal(err)
	}
	c.Handle.Signal(unix.SIGTERM)
	if st := <-c.Exited; !st.Wait.Signaled() || st.Wait.Signal() != unix.SIGTERM {
		t.Errorf("status %v, want killed by SIGTERM", st.Wait)
	}
}

// waitGone waits until nothing is left of a process, not even its status.
func waitGone(t *testing.T, pid string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat("/proc/" + pid); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("pid %s is still there", pid)
		case <-tick.C:
		}
	}
}

// roost-exec is waited for by every start.
func TestExec_IsSmallAndStatic(t *testing.T) {
	path, err := keepertest.Exec()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() >= 2<<20 {
		t.Errorf("roost-exec: %v, %v, want below 2 MiB", info.Size(), err)
	}
	if out, err := exec.Command("go", "list", "-f", "{{join .Imports \" \"}}", "github.com/roostd/roost/daemon/exec").Output(); err != nil || strings.TrimSpace(string(out)) != "os syscall" {
		t.Errorf("it imports %s, %v, want os and syscall only", out, err)
	}
}

func BenchmarkStart(b *testing.B) {
	s := newSpawner(b)
	o := order(b, "")
	o.Path, o.Argv = "/bin/true", []string{"true"}
	for b.Loop() {
		c, err := s.Start(o)
		if err != nil {
			b.Fatal(err)
		}
		c.Go()
		if err := c.Running(); err != nil {
			b.Fatal(err)
		}
		<-c.Exited
		c.Handle.Close()
	}
}

// ignoreReserved is what a parent such as make hands down.
func ignoreReserved(t *testing.T) {
	t.Helper()
	action := kernelAction{handler: ignored}
	for sig := uintptr(firstReserved); sig <= lastReserved; sig++ {
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
}

// Whatever descriptors a child is given, roost-exec is found through the one that
// it is held by.
func TestStart_TheDescriptorOfRoostExecIsLeftAlone(t *testing.T) {
	s := newSpawner(t)
	const high = 200 // above all that the test has open
	fd, err := unix.Open(s.Exec, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	held, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, high)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	below, err := unix.FcntlInt(os.Stderr.Fd(), unix.F_DUPFD_CLOEXEC, held-1)
	if err != nil || below != held-1 {
		t.Fatal(below, err)
	}
	o := order(t, "")
	o.Stdout = os.NewFile(uintptr(below), "stdout")
	defer o.Stdout.Close()
	s.Exec, s.Keep = fmt.Sprintf("/proc/self/fd/%d", held), held
	runReport(t, s, o, filepath.Join(t.TempDir(), "report"))
}
