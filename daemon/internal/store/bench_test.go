package store

import (
	"fmt"
	"os"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

// A state of a thousand apps, with five generations each: what reading it costs a
// daemon that starts, what a write costs, and what its copy costs, which nobody
// waits for.
func BenchmarkState(b *testing.B) {
	path := b.TempDir() + "/roost.db"
	s, err := Open(path, false)
	if err != nil {
		b.Fatal(err)
	}
	var apps []app.Stored
	for n := range 1000 {
		apps = append(apps, stored(fmt.Sprint("app", n), 1, 2, 3, 4, 5))
	}
	if err := s.Save(apps, nil); err != nil {
		b.Fatal(err)
	}
	if info, err := os.Stat(path); err == nil {
		b.Logf("%d bytes", info.Size())
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := read(path); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("save one", func(b *testing.B) {
		for b.Loop() {
			if err := s.Save(apps[500:501], nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			if err := s.copy(); err != nil {
				b.Fatal(err)
			}
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
