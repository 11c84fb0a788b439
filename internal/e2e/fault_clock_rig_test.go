package e2e

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wallClock is the wall clock of the programs in a folder. The kernel has only one
// for all, and Go asks it without a call that could be caught: these programs have a
// time.Now of their own, which adds what a file says.
type wallClock struct {
	testing.TB
	dir  string
	file *os.File
}

func newWallClock(t testing.TB) *wallClock {
	t.Helper()
	dir, err := os.MkdirTemp("", "roost-e2e-clock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file, err := os.Create(filepath.Join(dir, "clock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	c := &wallClock{t, dir, file}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.ahead(0)
	overlay := c.overlay()
	for name, pkg := range map[string]string{"roostd": "daemon", "roost-proxy": "proxy"} {
		c.run("go", "build", "-trimpath", "-overlay", overlay, "-o", filepath.Join(dir, name), "github.com/roostd/roost/"+pkg)
	}
	c.run("cp", filepath.Join(bin, "roost-exec"), dir)
	return c
}

// overlay writes what go build takes in place of package time's own source.
func (c *wallClock) overlay() string {
	c.Helper()
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	lib := filepath.Join(strings.TrimSpace(c.run("go", "env", "GOROOT")), "src", "time")
	source, err := os.ReadFile(filepath.Join(lib, "time.go"))
	if err != nil {
		c.Fatal(err)
	}
	changed := strings.Replace(string(source), now, now+"\tsec += wallAhead()\n", 1)
	if changed == string(source) {
		c.Fatalf("time.Now of %s is not what the test knows: see %s", lib, c.Name())
	}
	added, err := filepath.Abs(filepath.Join("testdata", "wallclock.go"))
	if err != nil {
		c.Fatal(err)
	}
	replace := map[string]string{filepath.Join(lib, "time.go"): filepath.Join(c.dir, "time.go"), filepath.Join(lib, "wallclock.go"): added}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		c.Fatal(err)
	}
	path := filepath.Join(c.dir, "overlay.json")
	if err := errorsOf(os.WriteFile(filepath.Join(c.dir, "time.go"), []byte(changed), 0o644), os.WriteFile(path, list, 0o644)); err != nil {
		c.Fatal(err)
	}
	return path
}

func (c *wallClock) run(name string, args ...string) string {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// ahead sets the clock: so much ahead of the host's.
func (c *wallClock) ahead(d time.Duration) {
	c.Helper()
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(int64(d/time.Second)))
	if _, err := c.file.WriteAt(b[:], 0); err != nil {
		c.Fatal(err)
	}
}
