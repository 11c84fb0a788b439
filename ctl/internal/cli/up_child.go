package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/roostd/roost/ctl/internal/render"
)

// child is the daemon or the proxy, in a process group of its own: the terminal's
// Ctrl-C goes to this program only, which ends them in order.
type child struct {
	name  string
	log   string // the file that it writes its log to
	out   *console
	dir   string
	env   []string
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	err   error         // of its end, after done
	heard chan struct{} // closed when it listens
	lines sync.WaitGroup

	mu   sync.Mutex
	addr string // its first listener's
	last string // its last error, in its own words
}

func (s *session) newChild(name string) *child {
	return &child{
		name: name, log: filepath.Join(s.dirs.logs, name+".log"), out: s.out, dir: s.Dir, env: s.childEnv(),
		done: make(chan struct{}), heard: make(chan struct{}),
	}
}

// start starts the program. Its log is a file that is followed, not a pipe: where
// this program is killed, a pipe's next write would kill the daemon too, before it
// has stopped its apps.
func (c *child) start(program string, args []string) error {
	w, err := os.OpenFile(c.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	r, err := os.Open(c.log)
	if err != nil {
		return err
	}
	c.cmd = exec.Command(program, args...)
	c.cmd.Dir, c.cmd.Env = c.dir, c.env
	c.cmd.Stdout, c.cmd.Stderr = w, w
	// Where this program is killed they get what Ctrl-C would have brought them.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig is about the thread that forked (prctl(2))
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		_ = r.Close()
		return failed(exitFailed, "cannot start %s: %v", program, err)
	}
	c.lines.Go(func() { c.follow(r) })
	return nil
}

// How often the log is looked at: until it says that the program listens, which
// is waited for, and then.
const (
	followFast = 5 * time.Millisecond
	followSlow = 200 * time.Millisecond
)

// follow takes in the lines of the log until the program has ended.
func (c *child) follow(r *os.File) {
	defer r.Close()
	var rest []byte
	for ended := false; ; {
		more, err := io.ReadAll(r)
		rest = append(rest, more...)
		for {
			line, after, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				break
			}
			c.line(string(line))
			rest = after
		}
		if ended || err != nil {
			c.line(string(rest))
			return
		}
		pace := followSlow
		if c.address() == "" {
			pace = followFast
		}
		select {
		case <-c.done:
			ended = true
		case <-time.After(pace):
		}
	}
}

// line takes in a line of the program's log, and shows it from a warning on.
func (c *child) line(text string) {
	text = strings.TrimSpace(text)
	var fields map[string]any
	if json.Unmarshal([]byte(text), &fields) != nil {
		if text != "" { // not from the logger: a crash, or a word to the user
			c.say(render.Red, text)
			c.setFault(text)
		}
		return
	}
	message, _ := fields["@message"].(string)
	switch level, _ := fields["@level"].(string); level {
	case "warn":
		c.say(render.Yellow, "warning: "+logText(message, fields))
	case "error":
		c.say(render.Red, logText(message, fields))
		c.setFault(logText(message, fields))
	}
	if kind, _ := fields["listener"].(string); message == "listening" && (kind == "unix" || kind == "http") {
		c.listens(fmt.Sprint(fields["address"]))
	}
}

func (c *child) say(st render.Style, text string) {
	c.out.say(st, "%s: %s", c.name, render.Clean(text))
}

// logText is a log line's message with its error and its other fields.
func logText(message string, fields map[string]any) string {
	if err, ok := fields["error"].(string); ok {
		message += ": " + err
		delete(fields, "error")
	}
	words := map[string]string{}
	for k, v := range fields {
		if !strings.HasPrefix(k, "@") {
			words[k] = fmt.Sprint(v)
		}
	}
	for _, k := range sortedKeys(words) {
		message += " " + k + "=" + words[k]
	}
	return message
}

func (c *child) listens(address string) {
	c.mu.Lock()
	first := c.addr == ""
	if first {
		c.addr = address
	}
	c.mu.Unlock()
	if first {
		close(c.heard)
	}
}

func (c *child) address() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

func (c *child) setFault(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = text
}

func (c *child) fault() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// listening waits until the program serves and returns its address.
func (c *child) listening(ctx context.Context, within time.Duration) (string, error) {
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-c.heard:
		return c.address(), nil
	case <-c.done:
		c.settle()
		return "", c.died()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-limit.C:
		return "", failed(exitFailed, "%s does not listen after %s", c.name, within)
	}
}

// settle waits for the last words of a program that has ended.
func (c *child) settle() { c.lines.Wait() }

// signal sends a signal to the program, not to what it started.
func (c *child) signal(s os.Signal) {
	if c != nil && c.cmd != nil {
		_ = c.cmd.Process.Signal(s) // it may have ended by itself
	}
}

// running reports whether it was started and has not ended.
func (c *child) running() bool {
	if c == nil || c.cmd == nil || c.cmd.Process == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}
