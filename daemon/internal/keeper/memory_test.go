package keeper

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/keeper/keepertest"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

// What two processes share counts once, and only where the cheap sum is too much.
func TestMemory_OfTheWholeTree(t *testing.T) {
	for _, lane := range []string{"", tree.LaneScan} {
		t.Run("lane "+lane, func(t *testing.T) {
			f := newFixture(t, lane)
			file := filepath.Join(t.TempDir(), "shared")
			p := f.launch(f.spec("share:" + file))
			deadline := time.Now().Add(20 * time.Second)
			for {
				if data, _ := os.ReadFile(file + ".mapped"); bytes.Count(data, []byte("\n")) == 2 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the two processes never have the file in memory")
				}
				time.Sleep(10 * time.Millisecond)
			}
			cheap, err := p.Memory(t.Context(), 1<<40)
			if err != nil || cheap < 2*keepertest.SharedSize {
				t.Errorf("the cheap sum is %d, %v", cheap, err)
			}
			exact, err := p.Memory(t.Context(), 1)
			if err != nil || exact < keepertest.SharedSize || exact > cheap-keepertest.SharedSize*3/4 {
				t.Errorf("the exact sum is %d of %d, %v: the file's %d count once", exact, cheap, err, keepertest.SharedSize)
			}
			if err := p.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n, err := p.Memory(t.Context(), 1); n != 0 || err != nil {
				t.Errorf("one that has ended uses %d, %v", n, err)
			}
		})
	}
}
