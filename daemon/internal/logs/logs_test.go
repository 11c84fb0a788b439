package logs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "f0e1d2c3b4a5968778695a4b3c2d1e00"

// disk writes as the keeper does.
type disk struct {
	dir string
	now time.Time // of the next batch

	mu   sync.Mutex
	gone map[string]bool
}

// tb is what testing.TB and *rapid.T share.
type tb interface {
	Helper()
	Fatal(args ...any)
}

func newDisk(dir string) *disk {
	return &disk{dir: dir, now: time.Now().Add(-time.Hour), gone: map[string]bool{}}
}

func (d *disk) write(t tb, instance, stream, data string) {
	t.Helper()
	d.writeSegment(t, instance, stream, 0, data)
}

// writeSegment adds a batch to the segment that begins at start. Its time is one
// millisecond after the batch before.
func (d *disk) writeSegment(t tb, instance, stream string, start int64, data string) {
	t.Helper()
	d.now = d.now.Add(time.Millisecond)
	d.mkdir(t, instance)
	path := filepath.Join(d.dir, "web", instance, fmt.Sprintf("%s.%d", stream, start))
	off := start + appendTo(t, path, []byte(data))
	entry := binary.BigEndian.AppendUint64(nil, uint64(d.now.UnixNano()))
	appendTo(t, path+".idx", binary.BigEndian.AppendUint64(entry, uint64(off)))
}

func (d *disk) mkdir(t tb, instance string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(d.dir, "web", instance), 0o750); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t tb, path string, b []byte) (size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil {
		_, err = f.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// end makes an instance one that wrote its last a while ago.
func (d *disk) end(instance string) {
	paths, _ := filepath.Glob(filepath.Join(d.dir, "web", instance, "*"))
	for _, path := range paths {
		_ = os.Chtimes(path, time.Time{}, time.Now().Add(-2*drainTime))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone[instance] = true
}

func (d *disk) store() *Store {
	return New(Config{
		Dir:   d.dir,
		Token: func(string) (string, bool) { return token, true },
		Gone: func(id string) bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.gone[id]
		},
	})
}

func read(t tb, s *Store, q Query) []Entry {
	t.Helper()
	q.App = "web"
	var all []Entry
	err := s.Read(context.Background(), q, func(e []Entry) error { all = append(all, e...); return nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func text(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.Write(e.Data)
	}
	return b.String()
}

func TestRead_MergesStreamsByTime(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "1\n2\n")
	d.write(t, "i1", Stderr, "3\n")
	d.write(t, "i2", Stdout, "4\n")
	d.write(t, "i1", Stdout, "5\n")
	all := read(t, d.store(), Query{})
	if got := text(all); got != "1\n2\n3\n4\n5\n" {
		t.Errorf("got %q", got)
	}
	if e := all[2]; e.App != "web" || e.Instance != "i1" || e.Stream != Stderr || e.Partial || e.Cursor == "" {
		t.Errorf("%+v", e)
	}
	if !all[4].Time.Equal(d.now) {
		t.Errorf("time %v, want %v", all[4].Time, d.now)
	}
	if got := text(read(t, d.store(), Query{Stream: Stdout})); got != "1\n2\n4\n5\n" {
		t.Errorf("stdout: %q", got)
	}
	if got := text(read(t, d.store(), Query{Instance: "i2"})); got != "4\n" {
		t.Errorf("i2: %q", got)
	}
}

func TestRead_ALineOverTwoBatchesHasTheTimeOfItsBeginning(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "a")
	first := d.now
	d.write(t, "i1", Stderr, "x\n")
	d.write(t, "i1", Stdout, "b\n")
	all := read(t, d.store(), Query{})
	if len(all) != 2 || string(all[0].Data) != "ab\n" || !all[0].Time.Equal(first) {
		t.Errorf("%q, first of %v, want ab before x", text(all), all[0].Time)
	}
}

func TestRead_LongLinesComeInParts(t *testing.T) {
	d := newDisk(t.TempDir())
	line := strings.Repeat("x", 2*longestLine+100) + "\n"
	d.write(t, "i1", Stdout, line+"y\n")
	all := read(t, d.store(), Query{})
	if len(all) != 4 || !all[0].Partial || !all[1].Partial || all[2].Partial || all[3].Partial {
		t.Fatalf("%d entries", len(all))
	}
	if len(all[0].Data) != longestLine || text(all) != line+"y\n" {
		t.Errorf("first part of %d bytes", len(all[0].Data))
	}
}

func TestRead_TheEndOfALineIsAwaited(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\nprompt> ")
	if got := text(read(t, d.store(), Query{})); got != "one\n" {
		t.Errorf("at once: %q", got)
	}
	s := d.store()
	s.quiet = 0
	all := read(t, s, Query{})
	if text(all) != "one\nprompt> " || !all[1].Partial {
		t.Errorf("after a rest: %q", text(all))
	}
	d.end("i1")
	if all := read(t, d.store(), Query{}); text(all) != "one\nprompt> " || !all[1].Partial {
		t.Errorf("at the end: %q", text(all))
	}
	d.write(t, "i1", Stdout, "yes\n")
	if got := text(read(t, s, Query{Cursor: all[1].Cursor})); got != "yes\n" {
		t.Errorf("from the cursor behind the prompt: %q", got)
	}
}

func TestRead_Tail(t *testing.T) {
	d := newDisk(t.TempDir())
	for i := range 100 {
		d.write(t, fmt.Sprintf("i%d", i%3), []string{Stdout, Stderr}[i%2], fmt.Sprintf("%d\n", i))
	}
	for _, n := range []int{0, 1, 7, 100, 1000} {
		var want strings.Builder
		for i := max(0, 100-n); i < 100; i++ {
			want.WriteString(fmt.Sprintf("%d\n", i))
		}
		if got := text(read(t, d.store(), Query{Tail: &n})); got != want.String() {
			t.Errorf("tail %d: %q, want %q", n, got, want.String())
		}
	}
}

func TestRead_TailOfLongLines(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, strings.Repeat("a", 100<<10)+"\n"+strings.Repeat("b", 10<<10)+"\n")
	if got := text(read(t, d.store(), Query{Tail: new(1)})); got != strings.Repeat("b", 10<<10)+"\n" {
		t.Errorf("tail 1 has %d bytes", len(got))
	}
	got := text(read(t, d.store(), Query{Tail: new(2)}))
	if want := longestLine + 10<<10 + 1; len(got) != want {
		t.Errorf("tail 2 has %d bytes, want %d: the last part of the long line", len(got), want)
	}
}

func TestRead_Since(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i0", Stdout, "old\n")
	d.write(t, "i1", Stdout, "a\nb")
	since := d.now.Add(1)
	d.write(t, "i1", Stdout, "c\nd\n")
	d.write(t, "i1", Stderr, "e\n")
	if got := text(read(t, d.store(), Query{Since: since})); got != "d\ne\n" {
		t.Errorf("got %q, want what began since", got)
	}
	if got := text(read(t, d.store(), Query{Since: d.now.Add(time.Second)})); got != "" {
		t.Errorf("since the future: %q", got)
	}
	if got := text(read(t, d.store(), Query{Since: since.Add(-time.Hour)})); got != "old\na\nbc\nd\ne\n" {
		t.Errorf("since long ago: %q", got)
	}
}

func TestRead_SeveralSegments(t *testing.T) {
	d := newDisk(t.TempDir())
	d.writeSegment(t, "i1", Stdout, 0, "one\ntw")
	d.writeSegment(t, "i1", Stdout, 6, "o\nthree\n")
	d.writeSegment(t, "i1", Stdout, 14, "four\n")
	s := d.store()
	all := read(t, s, Query{})
	if got := text(all); got != "one\ntwo\nthree\nfour\n" {
		t.Errorf("got %q", got)
	}
	if got := text(read(t, s, Query{Tail: new(3)})); got != "two\nthree\nfour\n" {
		t.Errorf("tail: %q", got)
	}
	for _, start := range []string{"0", "0.idx"} {
		if err := os.Remove(filepath.Join(d.dir, "web", "i1", "stdout."+start)); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Read(t.Context(), Query{App: "web", Cursor: all[0].Cursor}, nil, nil)
	if f, ok := errors.AsType[*app.Fault](err); !ok || f.Kind != app.OutOfRange || f.Reason != app.ReasonCursorGone {
		t.Errorf("a cursor whose bytes are gone: %v", err)
	}
	if got := text(read(t, s, Query{Cursor: all[1].Cursor})); got != "three\nfour\n" {
		t.Errorf("a cursor whose bytes are there: %q", got)
	}
}

func TestRead_Refusals(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "x\n")
	for name, tt := range map[string]struct {
		q    Query
		kind app.Kind
	}{
		"a way out":        {Query{App: "../x"}, app.NotFound},
		"another way out":  {Query{App: "web", Instance: ".."}, app.NotFound},
		"unknown instance": {Query{App: "web", Instance: "i2"}, app.NotFound},
		"unknown stream":   {Query{App: "web", Stream: "stdin"}, app.Invalid},
		"no cursor":        {Query{App: "web", Cursor: "hello"}, app.Invalid},
		"empty cursor":     {Query{App: "web", Cursor: "AA"}, app.Invalid},
	} {
		err := d.store().Read(t.Context(), tt.q, nil, nil)
		if f, ok := errors.AsType[*app.Fault](err); !ok || f.Kind != tt.kind {
			t.Errorf("%s: %v, want kind %d", name, err, tt.kind)
		}
	}
	if err := d.store().Read(t.Context(), Query{App: "never-started"}, nil, nil); err != nil {
		t.Errorf("an app without output: %v", err)
	}
}

func TestRead_AnErrorOfTheReaderEndsIt(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "x\n")
	stop := errors.New("stop")
	if err := d.store().Read(t.Context(), Query{App: "web"}, func([]Entry) error { return stop }, nil); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestRead_NeverShowsTheToken(t *testing.T) {
	for name, batches := range map[string][]string{
		"in a line":       {"a " + token + " b\n"},
		"over batches":    {"a " + token[:10], token[10:20], token[20:] + " b\n"},
		"twice":           {token + token + "\n"},
		"at a part's end": {strings.Repeat("x", longestLine-10) + token + "\n"},
		"behind a part":   {strings.Repeat("x", longestLine) + token + "\n"},
		"in a long line":  {strings.Repeat("x", longestLine-32) + token + strings.Repeat("y", longestLine) + token},
		"cut at the end":  {"a " + token[:31]},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t.TempDir())
			s := d.store()
			s.quiet = 0
			var seen strings.Builder
			cursor := ""
			for i, b := range batches {
				d.write(t, "i1", Stdout, b)
				if i == len(batches)-1 {
					d.end("i1")
				}
				for _, e := range read(t, s, Query{Cursor: cursor}) {
					seen.Write(e.Data)
					cursor = e.Cursor
				}
			}
			whole := strings.Join(batches, "")
			want := strings.ReplaceAll(whole, token, redacted)
			if name == "cut at the end" {
				want = "a ***"
			}
			if seen.String() != want {
				t.Errorf("got %q, want %q", seen.String(), want)
			}
			if tail := s.OutputTail("web", "i1", 1<<20); tail != want {
				t.Errorf("output tail %q, want %q", tail, want)
			}
			for most := range 60 {
				if tail := s.OutputTail("web", "i1", most); len(tail) > most || strings.Contains(whole, token) && leaks(tail) {
					t.Errorf("output tail of %d: %q", most, tail)
				}
			}
			for n := range 3 {
				if got := text(read(t, s, Query{Tail: &n})); leaks(got) {
					t.Errorf("tail %d: %q", n, got)
				}
			}
		})
	}
}

// leaks tells whether text has a good part of the token.
func leaks(text string) bool {
	for i := range len(token) - secretHint {
		if strings.Contains(text, token[i:i+secretHint+1]) {
			return true
		}
	}
	return false
}

func TestStore_OutputTail(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "starting\n")
	d.write(t, "i1", Stderr, "Traceback:\n  caf\xe9")
	s := d.store()
	for most, want := range map[int]string{
		100: "starting\nTraceback:\n  caf\uFFFD",
		25:  "Traceback:\n  caf\uFFFD",
		10:  "  caf\uFFFD",
		2:   "",
		0:   "",
	} {
		if got := s.OutputTail("web", "i1", most); got != want {
			t.Errorf("%d: %q, want %q", most, got, want)
		}
	}
	for _, id := range []app.InstanceID{"", "i2", "../../x"} {
		if got := s.OutputTail("web", id, 100); got != "" {
			t.Errorf("instance %q: %q", id, got)
		}
	}
}

func TestStore_OpenReadsRawBytesAsTheyCome(t *testing.T) {
	d := newDisk(t.TempDir())
	r := d.store().Open("web", "i1", Stdout)
	defer r.Close()
	buf := make([]byte, 4)
	next := func() string {
		var all []byte
		for {
			n, err := r.Read(buf)
			all = append(all, buf[:n]...)
			if err != nil {
				return string(all)
			}
		}
	}
	if got := next(); got != "" {
		t.Errorf("before anything: %q", got)
	}
	d.write(t, "i1", Stdout, token)
	if got := next(); got != token {
		t.Errorf("got %q", got)
	}
	d.writeSegment(t, "i1", Stdout, 32, "next segment\n")
	if got := next(); got != "next segment\n" {
		t.Errorf("got %q", got)
	}
}

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
		p, err := parseCursor("web", c)
		if err != nil {
			return
		}
		for id, at := range p.at {
			if !validID(id) {
				t.Errorf("id %q", id)
			}
			for stream, off := range at {
				if off < 0 {
					t.Errorf("%s at %d", stream, off)
				}
			}
		}
	})
}
