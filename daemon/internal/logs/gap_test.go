package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

// remove deletes a segment as the keeper does.
func (d *disk) remove(t tb, instance, stream string, start int64) {
	t.Helper()
	path := filepath.Join(d.dir, "web", instance, fmt.Sprintf("%s.%d", stream, start))
	if err := errors.Join(os.Remove(path+".idx"), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Dir(path))
}

// steps shows entries with their gaps.
func steps(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		if e.Gap {
			fmt.Fprintf(&b, "[%s %s -%d]", e.Instance, e.Stream, e.Missed)
		}
		b.Write(e.Data)
	}
	return b.String()
}

func TestCursor_WhosePlaceWasDeletedSaysHowMuchIsMissing(t *testing.T) {
	d := newDisk(t.TempDir())
	for i := range int64(5) {
		d.writeSegment(t, "i1", Stdout, 6*i, fmt.Sprintf("line%d\n", i))
	}
	all := read(t, d.store(), Query{})
	d.remove(t, "i1", Stdout, 0)
	d.remove(t, "i1", Stdout, 6)
	d.remove(t, "i1", Stdout, 12)
	for i, want := range []string{
		"[i1 stdout -12]line3\nline4\n", "[i1 stdout -6]line3\nline4\n", "line3\nline4\n", "line4\n", "",
	} {
		for _, lossless := range []bool{false, true} { // who resumes is told, not refused
			got := read(t, d.store(), Query{Cursor: all[i].Cursor, Lossless: lossless})
			if steps(got) != want {
				t.Errorf("behind line %d: %q, want %q", i, steps(got), want)
			}
			if len(got) > 0 { // the gap's own cursor leads behind it
				if rest := read(t, d.store(), Query{Cursor: got[0].Cursor}); steps(rest) != steps(got[1:]) {
					t.Errorf("behind the first step behind line %d: %q, want %q", i, steps(rest), steps(got[1:]))
				}
			}
		}
	}
	// A filter that lets nothing through is told of it all the same.
	if got := read(t, d.store(), Query{Cursor: all[0].Cursor, Grep: "nothing"}); steps(got) != "[i1 stdout -12]" {
		t.Errorf("with a filter: %q", steps(got))
	}
}

func TestCursor_OfAnInstanceThatIsGone(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\n")
	running := read(t, d.store(), Query{})[0].Cursor
	d.end("i1")
	ended := read(t, d.store(), Query{})[0].Cursor
	d.write(t, "i2", Stdout, "two\n")
	d.remove(t, "i1", Stdout, 0)
	// It may have written more, and nobody can tell how much.
	if got := read(t, d.store(), Query{Cursor: running}); steps(got) != "[i1 stderr -0][i1 stdout -0]two\n" {
		t.Errorf("of one that was running: %q", steps(got))
	}
	if got := read(t, d.store(), Query{Cursor: ended}); steps(got) != "two\n" {
		t.Errorf("of one that had ended: %q", steps(got))
	}
	if got := read(t, d.store(), Query{Cursor: running, Stream: Stderr}); steps(got) != "[i1 stderr -0]" {
		t.Errorf("of one stream: %q", steps(got))
	}
}

func TestCursor_OfAnotherStateOrApp(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\n")
	cursor := read(t, d.store(), Query{})[0].Cursor
	other := New(Config{Dir: d.dir, State: 7})
	for name, err := range map[string]error{
		"another state": other.Read(t.Context(), Query{App: "web", Cursor: cursor}, Sink[[]Entry]{}),
		"another app":   d.store().Read(t.Context(), Query{App: "api", Cursor: cursor}, Sink[[]Entry]{}),
	} {
		if f, ok := errors.AsType[*app.Fault](err); !ok || f.Kind != app.OutOfRange || f.Reason != app.ReasonCursorGone {
			t.Errorf("of %s: %v", name, err)
		}
	}
}

// An instance that keeps only its newest output and has ended is not begun again by
// a cursor that no longer lists it.
func TestCursor_OfAChattyInstanceThatEnded(t *testing.T) {
	d := newDisk(t.TempDir())
	d.writeSegment(t, "old", Stdout, 0, "one\n")
	d.now = d.now.Add(beganBefore2)
	d.writeSegment(t, "old", Stdout, 4, "two\n")
	d.end("old")
	d.write(t, "new", Stdout, "three\n")
	all := read(t, d.store(), Query{})
	d.remove(t, "old", Stdout, 0)
	if got := read(t, d.store(), Query{Cursor: all[2].Cursor}); steps(got) != "" {
		t.Errorf("again: %q", steps(got))
	}
}

const beganBefore2 = 2 * 5e9

func TestLossless_EndsWhereAGapOpens(t *testing.T) {
	d := newDisk(t.TempDir())
	d.writeSegment(t, "i1", Stdout, 0, "line0\n")
	s := running(t, d.store())
	var got []Entry
	err := s.Read(t.Context(), Query{App: "web", Follow: true, Lossless: true}, Sink[[]Entry]{
		Emit: func(list []Entry) error { got = append(got, list...); return nil },
		CaughtUp: func(string) error { // while the client does not read
			for i := range int64(4) {
				d.writeSegment(t, "i1", Stdout, 6*(i+1), fmt.Sprintf("line%d\n", i+1))
			}
			for i := range int64(3) {
				d.remove(t, "i1", Stdout, 6*i)
			}
			return nil
		},
	})
	f, ok := errors.AsType[*app.Fault](err)
	if !ok || f.Kind != app.Exhausted || f.Reason != app.ReasonReaderTooSlow || steps(got) != "line0\n" {
		t.Fatalf("ended with %v behind %q", err, steps(got))
	}
	if rest := read(t, s, Query{Cursor: f.Cursor}); steps(rest) != "[i1 stdout -12]line3\nline4\n" {
		t.Errorf("from its cursor on: %q", steps(rest))
	}
}

// Whatever is deleted below a follower, what it gets and what it is told that it
// missed is all that was written.
func TestFollow_CountsWhatItMisses(t *testing.T) {
	d := newDisk(t.TempDir())
	d.writeSegment(t, "i1", Stdout, 0, "first\n")
	s := running(t, d.store())
	var bytes, missed int64
	written := int64(6)
	enough := errors.New("enough")
	err := s.Read(t.Context(), Query{App: "web", Follow: true}, Sink[[]Entry]{
		CaughtUp: func(string) error { return nil },
		Emit: func(list []Entry) error {
			for _, e := range list {
				bytes, missed = bytes+int64(len(e.Data)), missed+e.Missed
			}
			if written > 10_000 {
				if bytes+missed == written {
					return enough
				}
				return nil
			}
			for range 10 { // more than it gets round to
				d.writeSegment(t, "i1", Stdout, written, "a line\na line\n")
				written += 14
			}
			starts, _ := filepath.Glob(filepath.Join(d.dir, "web", "i1", "stdout.*.idx"))
			for _, path := range starts {
				var start int64
				if _, err := fmt.Sscanf(filepath.Base(path), "stdout.%d.idx", &start); err == nil && start < written-28 {
					d.remove(t, "i1", Stdout, start)
				}
			}
			return nil
		},
	})
	if !errors.Is(err, enough) || missed == 0 {
		t.Errorf("%v: of %d bytes %d came and %d are told to be missing", err, written, bytes, missed)
	}
}
