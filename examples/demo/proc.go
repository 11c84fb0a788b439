package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 20 * time.Second
	// Above every stop.timeout of the manifest.
	stopLimit = 30 * time.Second
)

// proc is a program that runs until it is stopped.
type proc struct {
	name   string
	cmd    *exec.Cmd
	log    *logTail
	exited chan struct{}
	err    error // valid once exited is closed
	failed bool  // and whoever called has been told
}

// start runs a program until it listens, and returns the address.
func (d *demo) start(ctx context.Context, name string, args ...string) (string, error) {
	p := &proc{name: name, log: newLogTail(), exited: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(d.bin, name), args...)
	p.cmd.Env = d.env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// Not those who inherited its stderr, either.
	p.cmd.WaitDelay = time.Second
	// A Ctrl-C is for us, who end the two in the right order. Should we be killed, they end as well.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return "", err
	}
	d.procs = append(d.procs, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	select {
	case address := <-p.log.listening:
		return address, nil
	case <-p.exited:
		return "", p.failure("ended before it listened")
	case <-time.After(startLimit):
		return "", p.failure(fmt.Sprintf("did not listen within %v", startLimit))
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// stop asks the program to end, and makes it.
func (p *proc) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill() // its Wait tells
		<-p.exited
		return p.failure(fmt.Sprintf("did not end within %v of SIGTERM, and was killed", stopLimit))
	}
	if p.err != nil && !p.failed && !errors.Is(p.err, exec.ErrWaitDelay) {
		return p.failure("did not end well")
	}
	return nil
}

// failure says what went wrong with p, and the last that it said itself.
func (p *proc) failure(what string) error {
	p.failed = true
	select {
	case <-p.exited:
		if p.err != nil {
			what += ": " + p.err.Error()
		}
	default:
	}
	return fmt.Errorf("%s %s; its last lines:\n%s", p.name, what, p.log.tail())
}

// ctl runs roostctl and returns what it printed.
func (d *demo) ctl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "roostctl"), append([]string{"--daemon", d.daemon()}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = d.env, stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("roostctl %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// logTail reads a program's log: it finds the address that the program listens
// on, and keeps the last lines for the case that something goes wrong.
type logTail struct {
	listening chan string // the first address

	mu      sync.Mutex
	partial []byte
	last    []string
}

const tailLines = 20

func newLogTail() *logTail { return &logTail{listening: make(chan string, 1)} }

func (t *logTail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial = append(t.partial, b...)
	for {
		line, rest, ok := bytes.Cut(t.partial, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		t.line(line)
		t.partial = append([]byte(nil), rest...)
	}
}

func (t *logTail) line(line []byte) {
	t.last = append(t.last, string(line))
	t.last = t.last[max(0, len(t.last)-tailLines):]
	var entry struct {
		Message string `json:"@message"`
		Address string `json:"address"`
	}
	if json.Unmarshal(line, &entry) == nil && entry.Message == "listening" {
		select {
		case t.listening <- entry.Address:
		default: // one more listener
		}
	}
}

func (t *logTail) tail() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == 0 {
		return "  (none)"
	}
	return indent(strings.Join(t.last, "\n"))
}
