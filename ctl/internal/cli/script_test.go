package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"roostctl":    roostctl,
		"roostd":      stubDaemon,
		"roost-proxy": stubProxy,
	})
}

// leakChecked looks for goroutines that outlive the tests.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

// roostctl is main, in the test's own binary.
func roostctl() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	dir, _ := os.Getwd()
	os.Exit(Run(context.Background(), Env{
		Args: os.Args[1:], Environ: os.Environ(), Dir: dir, UID: os.Getuid(), Executable: "", Version: "v-test",
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
	}))
}

// TestScripts runs each script beside a daemon of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			f := newFakeDaemon()
			socket, err := startFake(t, env, f)
			if err != nil {
				return err
			}
			env.Setenv("ROOSTCTL_DAEMON", "unix://"+socket)
			env.Setenv("TZ", "UTC")
			env.Values["fake"] = f
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ctl":     ctlCommand,
			"exit":    exitCommand,
			"fake":    fakeCommand,
			"process": processCommand,
			"until":   untilCommand,
		},
	})
}

func startFake(t *testing.T, env *testscript.Env, f *fakeDaemon) (string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // a test's own folder has too long a path for a socket
	if err != nil {
		return "", err
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.shutdown = cancel
	s := grpc.NewServer(rpc.ServerOptions()...)
	f.register(s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = rpc.Serve(ctx, s, l, 100*time.Millisecond) })
	env.Defer(func() {
		cancel()
		wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return socket, nil
}

// exitCommand runs a command that must end with a code: exit 3 roostctl get x.
// The code is that of the process, so what is run in the test's own process is
// only what neither reads standard input nor needs a terminal or a signal.
func exitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "roostctl" {
		ts.Fatalf("usage: exit CODE roostctl [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := inProcess(ts, args[2:]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// processCommand does what exitCommand does with a process of its own.
func processCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: process CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// ctlCommand runs roostctl in the test's own process; it must exit 0. Under the
// race detector that is a hundred times faster than a process, and checks more.
func ctlCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("say which code: exit CODE roostctl ...")
	}
	if code := inProcess(ts, args); code != 0 {
		ts.Fatalf("exit code %d, want 0", code)
	}
}

func inProcess(ts *testscript.TestScript, args []string) int {
	var environ []string
	for _, name := range []string{"ROOSTCTL_DAEMON", "ROOSTCTL_OUTPUT", "ROOSTCTL_TIMEOUT"} {
		environ = append(environ, name+"="+ts.Getenv(name))
	}
	return Run(context.Background(), Env{
		Args: args, Environ: environ, Dir: ts.MkAbs("."), UID: os.Getuid(), Version: "v-test",
		Stdin: strings.NewReader(""), Stdout: ts.Stdout(), Stderr: ts.Stderr(),
	})
}

// fakeCommand tells the fake daemon what to be like.
func fakeCommand(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value("fake").(*fakeDaemon)
	switch args[0] {
	case "deny":
		f.mu.Lock()
		f.denied = true
		f.mu.Unlock()
	case "comes-back":
		f.comesBack = true
	case "wrote": // APP INSTANCE STREAM TEXT
		text, err := strconv.Unquote(`"` + args[4] + `"`)
		ts.Check(err)
		f.wrote(args[1], args[2], args[3], text)
	case "cut": // TIMES
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		f.mu.Lock()
		f.breaks = n
		f.mu.Unlock()
	case "crashed": // APP
		f.mu.Lock()
		f.crashed = args[1]
		f.mu.Unlock()
	case "event": // SEVERITY ID APP MESSAGE [INSTANCE [OUTPUT]]
		f.mu.Lock()
		defer f.mu.Unlock()
		instance, attributes := "i1", map[string]string{"code": "7"}
		if len(args) > 5 {
			instance = args[5]
		}
		if len(args) > 6 {
			text, err := strconv.Unquote(`"` + args[6] + `"`)
			ts.Check(err)
			attributes["output"] = text
		}
		f.events = append(f.events, &roostv1.Event{
			Id: args[2], App: args[3], Message: args[4], Actor: "roostd", Cursor: "e" + strconv.Itoa(len(f.events)), Instance: instance,
			Time:       timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5+len(f.events), 0, time.UTC)),
			Severity:   roostv1.EventSeverity(roostv1.EventSeverity_value["EVENT_SEVERITY_"+args[1]]),
			Attributes: attributes,
		})
	default:
		ts.Fatalf("fake: what is %q?", args[0])
	}
}

// untilCommand waits until a file holds a text.
func untilCommand(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if text, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && containsAll(string(text), args[1:]) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	text, _ := os.ReadFile(ts.MkAbs(args[0]))
	ts.Fatalf("%s does not come to hold %q:\n%s", args[0], args[1:], text)
}
