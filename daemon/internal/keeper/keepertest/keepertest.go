// Package keepertest has what the keeper's tests need of real processes: the
// built roost-exec, and apps that behave well or badly, which are the test binary
// itself, started with Variable set to what the app is to be.
package keepertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Variable names the app that a test binary is to be.
const Variable = "ROOST_TEST_APP"

// ExecVariable names a roost-exec that is built already, for a test that runs as a
// user without a compiler.
const ExecVariable = "ROOST_TEST_EXEC"

var build = sync.OnceValues(func() (string, error) {
	if path, ok := os.LookupEnv(ExecVariable); ok {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "roost-exec")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other users run it, too
		return "", err
	}
	path := filepath.Join(dir, "roost-exec")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/roostd/roost/daemon/exec")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build roost-exec: %w\n%s", err, out)
	}
	return path, nil
})

// Exec returns the path of a roost-exec built from this source. It must be called
// before a reaper runs in the test, which would reap the compiler.
func Exec() (string, error) { return build() }

// Clean removes what Exec made.
func Clean() {
	if _, given := os.LookupEnv(ExecVariable); given {
		return
	}
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
}

// Main runs the app that the environment asks for, and then never returns. A
// TestMain calls it first.
func Main() {
	if name, ok := os.LookupEnv(Variable); ok {
		os.Exit(runApp(name))
	}
}
