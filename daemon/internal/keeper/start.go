package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxKeeperLog is how large keeper.log may be when a keeper starts; a larger one
	// is moved to keeper.log.1.
	maxKeeperLog = 1 << 20
	// startTimeout is how long a keeper may take to answer.
	startTimeout = 10 * time.Second
)

// startError is why no keeper could be started.
type startError struct{ err error }

func (e *startError) Error() string { return "cannot start the keeper: " + e.err.Error() }

func (e *startError) Unwrap() error { return e.err }

// ensure returns once a keeper answers at the socket, and starts one where none is.
func (c *Client) ensure(ctx context.Context) error {
	path := socketPath(c.cfg.StateDir)
	err := try(ctx, path)
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	c.before = c.reapKeeper()
	pid, log, err := c.startKeeper()
	if err != nil {
		return &startError{err}
	}
	c.cfg.Log.Info("started a keeper", "pid", pid, "log", log)
	if err := c.waitKeeper(ctx, path, log); err != nil {
		return &startError{err}
	}
	return nil
}

func try(ctx context.Context, path string) error {
	conn, err := dialPrivate(ctx, path)
	if err != nil {
		return err
	}
	return conn.Close()
}

// startKeeper starts a keeper in a session of its own, which neither a terminal's
// Ctrl-C nor this daemon's end reaches, and writes its log to a file.
func (c *Client) startKeeper() (pid int, log string, err error) {
	log = c.keeperLog()
	if info, err := os.Stat(log); err == nil && info.Size() > maxKeeperLog {
		_ = os.Rename(log, log+".1")
	}
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, log, err
	}
	defer out.Close()
	cmd := &exec.Cmd{
		Path: c.cfg.Exe, Args: c.cfg.Args, Env: c.cfg.Environ, Dir: "/", Stdout: out, Stderr: out,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if c.cfg.Exec != nil {
		cmd.ExtraFiles = []*os.File{c.cfg.Exec} // the first is inheritedExec
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // not the daemon's: what is secret in it is nobody's business
	}
	c.births.Lock()
	defer c.births.Unlock()
	if err := cmd.Start(); err != nil {
		return 0, log, err
	}
	pid = cmd.Process.Pid
	c.mu.Lock()
	c.started, c.end = pid, keeperEnd{}
	c.mu.Unlock()
	// It outlives us as a rule; where it does not, reapKeeper waits for it.
	return pid, log, cmd.Process.Release()
}

// waitKeeper waits until the keeper that was started answers, or has ended.
func (c *Client) waitKeeper(ctx context.Context, path, log string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("it does not answer: see "+log))
	defer cancel()
	const every = 2 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if try(ctx, path) == nil {
			return nil
		}
		if end := c.reapKeeper(); end.how != "" {
			return fmt.Errorf("it ended (%s): %s", end.how, lastLine(log))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (c *Client) keeperLog() string { return filepath.Join(c.cfg.StateDir, "keeper.log") }

// keeperEnd is how a keeper of ours has ended; the zero value is that of none.
type keeperEnd struct {
	how    string
	failed bool // by itself
}

// reapKeeper takes the status of a keeper of ours that has ended, and tells how the
// last one did.
func (c *Client) reapKeeper() keeperEnd {
	c.births.Lock()
	defer c.births.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started == 0 {
		return c.end
	}
	var ws unix.WaitStatus
	pid, err := unix.Wait4(c.started, &ws, unix.WNOHANG, nil)
	switch {
	case err == nil && pid == 0:
		return keeperEnd{}
	case err != nil:
		c.started, c.end = 0, keeperEnd{how: err.Error()}
	default:
		c.started, c.end = 0, endOf(ws)
	}
	return c.end
}

// noteKeeper takes the status of a child that was just reaped, if it was the keeper.
func (c *Client) noteKeeper(pid int, ws unix.WaitStatus) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pid != c.started {
		return false
	}
	c.started, c.end = 0, endOf(ws)
	return true
}

func endOf(ws unix.WaitStatus) keeperEnd {
	if ws.Signaled() {
		return keeperEnd{how: "killed by " + unix.SignalName(ws.Signal())}
	}
	return keeperEnd{how: fmt.Sprintf("exit code %d", ws.ExitStatus()), failed: ws.ExitStatus() != 0}
}

// lastLine returns the end of a log, for people.
func lastLine(log string) string {
	f, err := os.Open(log)
	if err != nil {
		return "see " + log
	}
	defer f.Close()
	const tail = 2048
	if info, err := f.Stat(); err == nil && info.Size() > tail {
		_, _ = f.Seek(-tail, io.SeekEnd)
	}
	data, _ := io.ReadAll(io.LimitReader(f, tail))
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "see " + log
}
