package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal and what its programs have printed on it.
type terminal struct {
	master *os.File

	mu  sync.Mutex
	out bytes.Buffer
}

// openTerminal returns it and the end that programs get.
func openTerminal(t testing.TB) (*terminal, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal to be had: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	tty := &terminal{master: master}
	go tty.read()
	return tty, slave
}

func (t *terminal) read() {
	for buf := make([]byte, 4096); ; {
		n, err := t.master.Read(buf)
		t.mu.Lock()
		t.out.Write(buf[:n])
		t.mu.Unlock()
		if err != nil { // EIO: no program has it open any more
			return
		}
	}
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// printed is every byte so far.
func (t *terminal) printed() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.String()
}

// screen is what was printed, without colours.
func (t *terminal) screen() string {
	return escapes.ReplaceAllString(strings.ReplaceAll(t.printed(), "\r", ""), "")
}

// upHost is a folder in which `roostctl up` runs on a terminal.
func upHost(t *testing.T, manifest string) (h *host, tty *terminal, up *exec.Cmd) {
	t.Helper()
	dir, err := os.MkdirTemp("", "roost-e2e*.")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h = &host{TB: t, dir: dir}
	t.Cleanup(h.close)
	h.manifest(manifest)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = l.Addr().String()
	_ = l.Close()
	tty, slave := openTerminal(t)
	up = exec.Command(bin+"/roostctl", "up", "--listen", h.url)
	up.Dir = h.dir
	up.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + h.dir, "TERM=xterm-256color"}
	up.Stdin, up.Stdout, up.Stderr = slave, slave, slave
	up.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	t.Cleanup(func() {
		_ = up.Process.Kill()
		if t.Failed() {
			t.Logf("--- the terminal\n%s", tty.screen())
		}
	})
	return h, tty, up
}

const upManifest = `apps:
  web: {command: APP, routes: [{host: web.test}], stop: {drain: 1s}}
  worker: {command: APP -worker, listen: {mode: none}, recycle: {min_ready: 10ms}}
`

func TestUp_ServesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	h, tty, up := upHost(t, upManifest)
	h.eventually("it says where and how to stop", func() bool {
		s := tty.screen()
		return contains(s, "http://web.test") && contains(s, "Ctrl-C")
	})
	h.get("web", "/").wants(t, http.StatusOK)
	line := regexp.MustCompile(`(?m)^.*\bweb +\| .*started `)
	h.eventually("both apps' lines are shown, each with its app before it", func() bool {
		s := tty.screen()
		return line.MatchString(s) && regexp.MustCompile(`(?m)^.*\bworker +\| .*working 0$`).MatchString(s)
	})
	if !contains(tty.printed(), "\x1b[") {
		t.Error("no colours on a terminal")
	}
	if _, err := tty.master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	h.ended(up)
	if code := up.ProcessState.ExitCode(); code != 0 {
		t.Errorf("at Ctrl-C it exits %d", code)
	}
	if left := h.processes(); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	if c, err := net.Dial("tcp", h.url); err == nil {
		_ = c.Close()
		t.Error("the proxy's port is still listening")
	}
	if _, err := os.Lstat(h.dir + "/.roost/roostd.sock"); err == nil {
		t.Error("the daemon's socket is left")
	}
	if _, err := os.Stat(h.dir + "/.roost/.gitignore"); err != nil {
		t.Errorf("the state: %v", err)
	}
}

// ended waits until a program has.
func (h *host) ended(cmd *exec.Cmd) {
	h.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done: // its exit code is the caller's to judge
	case <-time.After(patience):
		h.Fatalf("%v has not ended", cmd.Args)
	}
}

func TestUp_SecondInterruptKills(t *testing.T) {
	t.Parallel()
	h, tty, up := upHost(t, strings.ReplaceAll(upManifest, "stop: {drain: 1s}", "stop: {drain: 10m, timeout: 10m}"))
	h.eventually("it serves", func() bool { return h.get("web", "/").status == http.StatusOK })
	go h.get("web", "/sleep?for=10m")
	h.eventually("it runs", func() bool { return contains(tty.screen(), "working 0") })
	for range 2 {
		if _, err := tty.master.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		h.eventually("Ctrl-C is seen", func() bool { return contains(tty.screen(), "stopping") })
	}
	h.ended(up)
	h.eventually("nothing is left", func() bool { return len(h.processes()) == 0 })
}
