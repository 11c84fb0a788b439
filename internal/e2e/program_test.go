package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen: far above what
// it takes, for a machine that is busy.
const patience = 30 * time.Second

// program is one of ours, running.
type program struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // valid once exited is closed

	mu     sync.Mutex
	log    strings.Builder
	listen map[string]string // listener kind → address
	more   chan struct{}     // closed at each new listener, then renewed
}

// start runs bin/name, or where name is a path that; its log is printed if the test fails.
func start(t testing.TB, name string, args ...string) *program {
	t.Helper()
	return startBy(t, nil, name, args...)
}

// startBy has another program, such as unshare, become bin/name.
func startBy(t testing.TB, by []string, name string, args ...string) *program {
	t.Helper()
	if err := lookAtSources(); err != nil {
		t.Fatal(err)
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(bin, name)
	}
	p := &program{
		t: t, name: filepath.Base(path), exited: make(chan struct{}),
		listen: map[string]string{}, more: make(chan struct{}),
	}
	argv := slices.Concat(by, []string{path}, args, []string{"--log-format", "json", "--log-level", "debug"})
	p.cmd = exec.Command(argv[0], argv[1:]...)
	// A program that left the tests' environment would find the wrong daemon.
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + os.Getenv("HOME"), "SECRET_OF_THE_DAEMON=1"}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.wait(stderr)
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.exited
		if contains(p.output(), "WARNING: DATA RACE") {
			t.Errorf("%s has a data race", p.name)
		}
		if t.Failed() || testing.Verbose() {
			t.Logf("--- log of %s, pid %d\n%s", p.name, p.cmd.Process.Pid, p.output())
		}
	})
	return p
}

func (p *program) wait(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line(lines.Text())
	}
	p.err = p.cmd.Wait()
	close(p.exited)
}

func (p *program) line(s string) {
	var e struct {
		Message  string `json:"@message"`
		Listener string `json:"listener"`
		Address  string `json:"address"`
	}
	_ = json.Unmarshal([]byte(s), &e) // a panic's trace is not JSON
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.WriteString(s + "\n")
	if e.Message == "listening" {
		p.listen[e.Listener] = e.Address
		close(p.more)
		p.more = make(chan struct{})
	}
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// address waits until the program listens.
func (p *program) address(listener string) string {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		a, more := p.listen[listener], p.more
		p.mu.Unlock()
		if a != "" {
			return a
		}
		select {
		case <-more:
		case <-p.exited:
			p.t.Fatalf("%s ended before it listened: %v\n%s", p.name, p.err, p.output())
		case <-timeout:
			p.t.Fatalf("%s does not listen (%s)", p.name, listener)
		}
	}
}

func (p *program) pid() int { return p.cmd.Process.Pid }

func (p *program) signal(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig) // one that has ended is no fault
}

// end sends a signal and waits until the program is gone.
func (p *program) end(sig syscall.Signal) {
	p.t.Helper()
	p.signal(sig)
	select {
	case <-p.exited:
	case <-time.After(2 * patience):
		p.signal(syscall.SIGQUIT)
		<-p.exited
		p.t.Fatalf("%s did not end on %v; its goroutines are in its log", p.name, sig)
	}
}
