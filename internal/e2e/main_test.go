package e2e

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// bin holds the programs under test, built once from this tree.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "roost-e2e-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// Apps may run as another user, who must reach the test app.
	if err := errorsOf(os.Chmod(dir, 0o755), build(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	hosts.Store(rand.Int32N(90)) // two runs at the same time do not meet either, most likely
	// Tests mostly wait: more of them than there are CPUs take less time.
	if !given("test.parallel") {
		_ = flag.Set("test.parallel", "4")
	}
	return runTests(m)
}

// runTests runs them all, or the fault suite where that is asked for, which then
// prints its table. A run that a pattern has not narrowed must have every case.
func runTests(m *testing.M) int {
	if *faultForm == "" {
		return m.Run()
	}
	if *faultForm != "short" && *faultForm != "full" {
		fmt.Fprintf(os.Stderr, "-fault is %q: use short or full\n", *faultForm)
		return 2
	}
	all := !given("test.run") && !given("test.skip")
	if all {
		_ = flag.Set("test.run", "^TestFault_")
	}
	code := m.Run()
	rows := faultRows.list
	if missing := missingFaults(rows); all && len(missing) > 0 {
		rows, code = append(rows, missing...), 1
	}
	printFaults(os.Stdout, rows)
	return code
}

func given(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func build(dir string) error {
	for name, pkg := range map[string]string{
		"roostd": "daemon", "roost-exec": "daemon/exec", "roost-proxy": "proxy", "roostctl": "ctl",
		"testapp": "internal/e2e/testapp",
	} {
		args := []string{"build", "-o", filepath.Join(dir, name), "github.com/roostd/roost/" + pkg}
		env := append(os.Environ(), "CGO_ENABLED=0")
		if os.Getenv("ROOST_E2E_RACE") != "" && name != "roost-exec" && name != "testapp" {
			// The programs themselves look for races: slow, so only where it is asked for.
			args, env = slices.Insert(args, 1, "-race"), os.Environ()
		}
		cmd := exec.Command("go", args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// lookAtSources has go test know what the programs are made of: it keeps a result as
// long as nothing has changed that a test itself has looked at (not TestMain), and the
// programs are built by another process.
var lookAtSources = sync.OnceValue(func() error {
	for _, dir := range []string{"daemon", "proxy", "ctl", "internal", "gen"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(path) == ".go" {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	_, err := os.Stat(filepath.Join("..", "..", "go.mod"))
	return err
})

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
