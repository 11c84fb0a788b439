package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// writerEnv makes the test binary a writer of the file that it names.
const writerEnv = "ROOST_TEST_STORE_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		fmt.Fprintln(os.Stderr, write(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write saves pairs of apps with one generation after the other, each pair in
// one transaction, and prints each generation once Save has returned.
func write(path string) error {
	s, err := Open(path, false)
	if err != nil {
		return err
	}
	for {
		n, err := s.NextGeneration("a")
		if err != nil {
			return err
		}
		a, b := stored("a", n), stored("b", n)
		b.Generations[0].Spec.Env["PAD"] = strings.Repeat("x", rand.IntN(20_000))
		if err := s.Save([]app.Stored{a, b}, []string{fmt.Sprint("old", n)}); err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, n)
	}
}

func TestStore_AKilledWriterLeavesWholeTransactions(t *testing.T) {
	path := testPath(t)
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(50*time.Millisecond+rand.N(50*time.Millisecond), func() { _ = cmd.Process.Kill() })
		var acknowledged int64
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, err := fmt.Sscan(lines.Text(), &acknowledged); err != nil {
				t.Fatalf("round %d: %q: %v", round, lines.Text(), err)
			}
		}
		_ = cmd.Wait()
		kill.Stop()

		s := mustOpen(t, path)
		apps, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		next, err := s.NextGeneration("a")
		if err != nil {
			t.Fatal(err)
		}
		if len(apps) > 0 && (len(apps) != 2 || apps[0].Desired != apps[1].Desired || next != apps[0].Desired+1) {
			t.Fatalf("round %d: half a transaction: %d apps, next %d", round, len(apps), next)
		}
		if next-1 < acknowledged {
			t.Fatalf("round %d: generation %d was acknowledged, %d is left", round, acknowledged, next-1)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
