package logs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An index that a crash of the machine has damaged costs nothing of what was
// written: neither bytes nor their order, and of the time no more than it must.
func TestIndex_IsMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"missing":                 nil,
		"empty":                   func([]byte) []byte { return nil },
		"cut off":                 func(b []byte) []byte { return b[:2*indexEntry] },
		"cut off in an entry":     func(b []byte) []byte { return b[:3*indexEntry-5] },
		"its end is zeros":        func(b []byte) []byte { clear(b[indexEntry:]); return b },
		"all is zeros":            func(b []byte) []byte { clear(b); return b },
		"rubbish in the middle":   func(b []byte) []byte { copy(b[indexEntry:], "rubbish rubbish rubbish"); return b },
		"of a much larger one":    func(b []byte) []byte { b[indexEntry+8] = 1; return b },
		"twice the same":          func(b []byte) []byte { return append(b, b...) },
		"longer than its bytes":   func(b []byte) []byte { return append(b, bytes.Repeat([]byte{0x17}, 5*indexEntry)...) },
		"its first entry is gone": func(b []byte) []byte { return b[indexEntry:] },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t.TempDir())
			d.write(t, "i0", Stdout, "before\n")
			d.now = d.now.Add(time.Minute)
			var since time.Time
			for i, line := range []string{"1\n", "2\n", "3\n", "4\n", "5\n"} {
				if d.write(t, "i1", Stdout, line); i == 3 {
					since = d.now
				}
				d.now = d.now.Add(time.Second)
			}
			d.now = d.now.Add(time.Minute)
			d.write(t, "i2", Stdout, "after\n")
			path := filepath.Join(d.dir, "web", "i1", "stdout.0.idx")
			if b, err := os.ReadFile(path); err != nil {
				t.Fatal(err)
			} else if damage == nil {
				_ = os.Remove(path)
			} else if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			s := d.store()
			all := read(t, s, Query{})
			if got := steps(all); got != "before\n1\n2\n3\n4\n5\nafter\n" {
				t.Errorf("read %q", got)
			}
			for i, e := range all {
				if got := steps(read(t, s, Query{Cursor: e.Cursor})); got != steps(all[i+1:]) {
					t.Errorf("behind entry %d: %q", i, got)
				}
			}
			if got := steps(read(t, s, Query{Tail: new(3)})); got != "4\n5\nafter\n" {
				t.Errorf("tail: %q", got)
			}
			// Better too much than too little.
			got := read(t, s, Query{Since: since})
			if len(got) < 3 || steps(got[len(got)-3:]) != "4\n5\nafter\n" || string(got[0].Data) == "before\n" {
				t.Errorf("since: %q", steps(got))
			}
		})
	}
}

// The clock may be set back: what comes later is not left out for it.
func TestRead_SinceOfAClockThatWasSetBack(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "old\n")
	d.now = d.now.Add(10 * time.Minute)
	since := d.now
	d.write(t, "i1", Stdout, "1\n")
	d.now = d.now.Add(-8 * time.Minute)
	d.write(t, "i1", Stdout, "2\n")
	d.now = d.now.Add(-time.Hour)
	d.write(t, "i1", Stdout, "3\n")
	all := read(t, d.store(), Query{Since: since})
	if got := steps(all); got != "1\n2\n3\n" {
		t.Errorf("read %q", got)
	}
	for i, e := range all {
		if got := steps(read(t, d.store(), Query{Cursor: e.Cursor})); got != steps(all[i+1:]) {
			t.Errorf("behind entry %d: %q", i, got)
		}
	}
}
