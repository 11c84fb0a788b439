package probe

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roostd/roost/daemon/internal/app"
)

// childEnv makes the test binary a process that listens at the address given.
const childEnv = "PROBE_TEST_LISTEN"

func TestMain(m *testing.M) {
	if address := os.Getenv(childEnv); address != "" {
		child(address)
		return
	}
	if address := os.Getenv(weakEnv); address != "" {
		weakChild(address)
		return
	}
	goleak.VerifyTestMain(m)
}

// weakEnv makes the test binary probe its parent, which listens at the address given.
const weakEnv = "PROBE_TEST_WEAK"

// weakChild prints what WaitReady returned and the conditions it told.
func weakChild(address string) {
	r := New(Config{Condition: func(_ string, _ app.InstanceID, c, _ string) { fmt.Fprintln(os.Stdout, c) }})
	defer r.Close()
	l := launch(app.ListenPort, nil)
	l.Port = int(netip.MustParseAddrPort(address).Port())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Fprintln(os.Stdout, first(r.WaitReady(ctx, &process{info: app.ProcessInfo{PID: os.Getppid()}}, l)))
}

func first(address string, err error) string {
	if err != nil {
		return err.Error()
	}
	return address
}

// child listens, says where, and stays until its stdin ends.
func child(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, l.Addr())
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// startChild runs child and returns its pid and where it listens.
func startChild(t *testing.T, address string) (pid int, listens string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+address)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, line[:len(line)-1]
}

// process is a fake instance, as far as probes look at one.
type process struct {
	app.Process
	info     app.ProcessInfo
	pids     []int
	execErr  error
	execs    atomic.Int32
	execFail int32 // so many commands fail first
	notified chan struct{}
}

func (p *process) Info() app.ProcessInfo { return p.info }
func (p *process) Pids(context.Context) ([]int, error) {
	return append([]int{p.info.PID}, p.pids...), nil
}
func (p *process) Notified() <-chan struct{} { return p.notified }
func (p *process) Exec(context.Context, []string, time.Duration) error {
	if p.execs.Add(1) <= p.execFail {
		return p.execErr
	}
	return nil
}

// self is this very process as an instance.
func self() *process {
	return &process{info: app.ProcessInfo{PID: os.Getpid(), UID: os.Getuid()}, notified: make(chan struct{})}
}

func launch(mode app.ListenMode, change func(*app.Spec)) app.Launch {
	s := app.Spec{Name: "web", Listen: app.Listen{Mode: mode}}
	if change != nil {
		change(&s)
	}
	return app.Launch{ID: "i1", Spec: s.WithDefaults(), Token: "0123456789abcdef0123456789abcdef"}
}
