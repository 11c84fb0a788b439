package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLogCapture reports how much output is put on disk for a CPU-second of the
// whole process that does so: the keeper, and what others have in its place. The test
// app writes lines of 100 bytes as fast as it can, 500 a write and one a write. What
// does not install is skipped: others' programs are fetched when they are measured, and
// are no part of this module.
func BenchmarkLogCapture(b *testing.B) {
	for _, by := range []struct {
		name  string
		start func(*testing.B) capturer
	}{{"roost", captureByKeeper}, {"ochinchina-supervisord", captureBySupervisord}, {"pm2", captureByPM2}} {
		b.Run(by.name, func(b *testing.B) {
			c := by.start(b)
			c.flood(b, floodLines, 500) // whoever compiles late has done so
			for _, atOnce := range []int{500, 1} {
				b.Run(fmt.Sprintf("lines-a-write=%d", atOnce), func(b *testing.B) { c.measure(b, atOnce) })
			}
		})
	}
}

func (c capturer) measure(b *testing.B, atOnce int) {
	// At the fastest, they take many of the ticks of 10 ms that CPU time is told in.
	const lines = 2_000_000
	all, used := 0, usageOf(b, c.pid).cpu
	for b.Loop() {
		c.flood(b, lines, atOnce)
		all += lines
	}
	perLine(b, all, b.Elapsed(), usageOf(b, c.pid).cpu-used)
	b.ReportMetric(float64(usageOf(b, c.pid).rss)/(1<<20), "MiB")
}

// capturer puts on disk what a test app writes.
type capturer struct {
	pid     int
	app     string       // host:port
	written func() int64 // bytes on disk so far, those deleted since included
}

// flood has the app write, and waits until all of it is on disk.
func (c capturer) flood(b *testing.B, lines, atOnce int) {
	b.Helper()
	want := c.written() + int64(lines)*100
	resp, err := http.Get("http://" + c.app + fmt.Sprintf("/flood?lines=%d&at-once=%d", lines, atOnce))
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b.Fatal(resp.Status)
	}
	deadline := time.Now().Add(4 * patience)
	for c.written() < want {
		if time.Now().After(deadline) {
			b.Fatalf("%d bytes are on disk, want %d", c.written(), want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func captureByKeeper(b *testing.B) capturer {
	h := newHost(b)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(b, http.StatusOK)
	h.eventually("it has a keeper", func() bool { _, ok := h.keeper(); return ok })
	return capturer{h.keeperPID, h.live("web")[0].Address, func() int64 { return h.newestByte("web") }}
}

// captureBySupervisord builds it in a module of its own: go install asks for the list
// of its versions, which the module proxy does not give.
func captureBySupervisord(b *testing.B) capturer {
	const module, version = "github.com/ochinchina/supervisord", "v0.7.3"
	dir := b.TempDir()
	writeFile(b, filepath.Join(dir, "go.mod"), fmt.Sprintf("module bench\n\ngo 1.21\n\nrequire %s %s\n", module, version))
	cmd := exec.Command("go", "build", "-mod=mod", "-o", "supervisord", module)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	install(b, cmd, dir)

	app := freeAddr(b)
	_, port, _ := net.SplitHostPort(app)
	conf, log := filepath.Join(dir, "supervisord.conf"), filepath.Join(dir, "web.log")
	writeFile(b, conf, fmt.Sprintf(`[supervisord]
logfile=%[1]s/supervisord.log
pidfile=%[1]s/supervisord.pid
[program:web]
command=%[2]s
environment=PORT="%[3]s"
stdout_logfile=%[4]s
stdout_logfile_maxbytes=100GB
`, dir, filepath.Join(bin, "testapp"), port, log))
	cmd = exec.Command(filepath.Join(dir, "supervisord"), "-c", conf)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }) // with its app
	waitFor(b, app)
	return capturer{cmd.Process.Pid, app, sizeOf(log)}
}

func captureByPM2(b *testing.B) capturer {
	dir := b.TempDir()
	install(b, exec.Command("npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", "pm2@7.0.4"), dir)

	app := freeAddr(b)
	_, port, _ := net.SplitHostPort(app)
	log := filepath.Join(dir, "web.log")
	pm2 := func(args ...string) {
		cmd := exec.Command(filepath.Join(dir, "node_modules", ".bin", "pm2"), args...)
		cmd.Env = append(os.Environ(), "PM2_HOME="+filepath.Join(dir, "home"), "PORT="+port)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("pm2 %s: %v\n%s", args[0], err, out)
		}
	}
	b.Cleanup(func() { pm2("kill") }) // the daemon, with its app
	pm2("start", filepath.Join(bin, "testapp"), "--name", "web", "--interpreter", "none", "--output", log, "--error", log+".err")
	waitFor(b, app)
	text, err := os.ReadFile(filepath.Join(dir, "home", "pm2.pid"))
	if err != nil {
		b.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.Fatal(err)
	}
	return capturer{pid, app, sizeOf(log)}
}

// install runs what fetches another's program, and skips the benchmark where that fails.
func install(b *testing.B, cmd *exec.Cmd, dir string) {
	b.Helper()
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		reason := fmt.Sprintf("%s: %v\n%s", cmd, err, out)
		fmt.Printf("%s is skipped: %s\n", b.Name(), reason) // go test says so of tests only
		b.Skip(reason)
	}
}

// sizeOf tells the size of a file, 0 while there is none.
func sizeOf(path string) func() int64 {
	return func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
}

func writeFile(b *testing.B, path, text string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}
