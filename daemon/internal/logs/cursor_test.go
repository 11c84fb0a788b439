package logs

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRead_EachByteOnce writes at random, and reads in pieces with a cursor:
// every byte comes exactly once, whatever was cut where.
func TestRead_EachByteOnce(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		d := newDisk(dir)
		wrote, got := map[string]string{}, map[string]string{}
		cursor := ""
		take := func(entries []Entry) {
			for _, e := range entries {
				got[e.Instance+e.Stream] += string(e.Data)
				cursor = e.Cursor
			}
		}
		alive := []string{"aaaaaaaaaaaaaaaa"}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0: // another instance
				alive = append(alive, fmt.Sprintf("i%d", len(wrote)+len(d.gone)+len(alive)))
			case 1: // one ends
				i := rapid.IntRange(0, len(alive)-1).Draw(t, "ends")
				d.end(alive[i])
				if alive = slices.Delete(alive, i, i+1); len(alive) == 0 {
					alive = []string{fmt.Sprintf("n%d", len(d.gone))}
				}
			case 2: // time passes
				d.now = d.now.Add(10 * time.Second)
			case 3, 4: // a reader goes on, and breaks off somewhere
				s := d.store() // as after a restart
				s.quiet = time.Duration(rapid.IntRange(0, 1).Draw(t, "quiet")) * time.Hour
				entries := read(t, s, Query{Cursor: cursor})
				take(entries[:rapid.IntRange(0, len(entries)).Draw(t, "read")])
			default:
				id := rapid.SampledFrom(alive).Draw(t, "instance")
				stream := rapid.SampledFrom([]string{Stdout, Stderr}).Draw(t, "stream")
				data := rapid.StringMatching(`[g-k\n]{1,20}`).Draw(t, "data")
				if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
					data += strings.Repeat("z", longestLine)
				}
				d.write(t, id, stream, data)
				wrote[id+stream] += data
			}
		}
		s := d.store()
		s.quiet = 0
		take(read(t, s, Query{Cursor: cursor}))
		for k, want := range wrote {
			if got[k] != want {
				t.Fatalf("%s: got %d bytes %.200q\nwant %d bytes %.200q", k, len(got[k]), got[k], len(want), want)
			}
		}
	})
}

func TestRead_CursorStaysSmall(t *testing.T) {
	d := newDisk(t.TempDir())
	for i := range 60 {
		id := fmt.Sprintf("old%d", i)
		d.write(t, id, Stdout, "x\n")
		d.end(id)
		d.now = d.now.Add(time.Minute)
	}
	all := read(t, d.store(), Query{})
	if c := all[len(all)-1].Cursor; len(all) != 60 || len(c) > 60 {
		t.Errorf("after %d instances the cursor has %d characters", len(all), len(c))
	}
	for i, e := range all {
		if got := read(t, d.store(), Query{Cursor: e.Cursor}); len(got) != len(all)-1-i {
			t.Fatalf("behind entry %d: %d entries, want %d", i, len(got), len(all)-1-i)
		}
	}
}

// FuzzRead_AnyIndex: an index tells times, never which bytes there are.
func FuzzRead_AnyIndex(f *testing.F) {
	f.Add([]byte("a\nb\n"), []byte("0123456789abcdef"))
	f.Add([]byte("a\nb\nc"), binary.BigEndian.AppendUint64(make([]byte, 24), 2))
	f.Fuzz(func(t *testing.T, data, index []byte) {
		d := newDisk(t.TempDir())
		d.mkdir(t, "i1")
		path := filepath.Join(d.dir, "web", "i1", "stdout.0")
		appendTo(t, path, data)
		appendTo(t, path+".idx", index)
		d.end("i1")
		s := New(Config{Dir: d.dir, Gone: func(string) bool { return true }})
		all := read(t, s, Query{})
		if text(all) != string(data) {
			t.Fatalf("got %q, want %q", text(all), data)
		}
		for i, e := range all {
			if got := text(read(t, s, Query{Cursor: e.Cursor})); got != text(all[i+1:]) {
				t.Fatalf("behind entry %d: %q, want %q", i, got, text(all[i+1:]))
			}
		}
		for n := range 4 {
			want := text(all[max(0, len(all)-n):])
			if got := text(read(t, s, Query{Tail: &n})); len(data) < longestLine && got != want {
				t.Fatalf("tail %d: %q, want %q", n, got, want)
			}
		}
		read(t, s, Query{Since: time.Unix(0, 1)})
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("AQA")
	f.Add("AQIHABCDEFGHIJKLMN8B")
	f.Fuzz(func(t *testing.T, c string) {
		p := position{at: map[string]place{}}
		b, err := base64.RawURLEncoding.DecodeString(c)
		if err == nil {
			_, err = p.decode(b)
		}
		if err != nil {
			return
		}
		for id, at := range p.at {
			if !validID(id) {
				t.Errorf("id %q", id)
			}
			for stream, off := range at.offsets {
				if off < 0 {
					t.Errorf("%s at %d", stream, off)
				}
			}
		}
	})
}
