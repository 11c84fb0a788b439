package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestRead_EndsWithALineThatHasNoEnd(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\nprompt> ")
	for _, when := range []string{"while it runs", "at its end"} {
		all := read(t, d.store(), Query{})
		if text(all) != "one\nprompt> " || !all[1].Partial {
			t.Errorf("%s: %q", when, text(all))
		}
		d.end("i1")
	}
	if all := read(t, d.store(), Query{Tail: new(1)}); text(all) != "prompt> " {
		t.Errorf("the last line: %q", text(all))
	}
}

// A reader that comes back with its cursor after every few bytes gets each once,
// and never the token.
func TestRead_ALineThatGrowsComesOnce(t *testing.T) {
	d := newDisk(t.TempDir())
	s := d.store()
	line := "a" + token[:9] + " is " + token + " and " + token[:3]
	got, cursor := "", ""
	for i := range line {
		d.write(t, "i1", Stdout, line[i:i+1])
		for _, e := range read(t, s, Query{Cursor: cursor}) {
			got, cursor = got+string(e.Data), e.Cursor
		}
	}
	if want := "a" + token[:9] + " is *** and "; got != want { // what may become one waits
		t.Errorf("got %q, want %q", got, want)
	}
	d.write(t, "i1", Stdout, "\n")
	if got := text(read(t, s, Query{Cursor: cursor})); got != token[:3]+"\n" {
		t.Errorf("the rest is %q", got)
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

// The keeper writes the entry of the index right behind the bytes: a reader that
// comes between the two must not take them for old ones.
func TestRead_SinceFindsBytesWhoseEntryIsOnItsWay(t *testing.T) {
	for name, old := range map[string]string{"the first bytes": "", "behind others": "old\n"} {
		d := newDisk(t.TempDir())
		if old != "" {
			d.write(t, "i1", Stdout, old)
		}
		since := d.now.Add(1)
		d.mkdir(t, "i1")
		path := filepath.Join(d.dir, "web", "i1", "stdout.0")
		off := appendTo(t, path, []byte("new\n"))
		noted := make(chan struct{})
		time.AfterFunc(20*time.Millisecond, func() {
			defer close(noted)
			entry := binary.BigEndian.AppendUint64(nil, uint64(since.Add(1).UnixNano()))
			appendTo(t, path+".idx", binary.BigEndian.AppendUint64(entry, uint64(off)))
		})
		if got := text(read(t, d.store(), Query{Since: since})); got != "new\n" {
			t.Errorf("%s: got %q", name, got)
		}
		<-noted
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
	got := read(t, s, Query{Cursor: all[0].Cursor})
	if !got[0].Gap || got[0].Missed != 2 || text(got) != "o\nthree\nfour\n" {
		t.Errorf("a cursor whose bytes are gone: %+v, %q", got[0], text(got))
	}
	if got := text(read(t, s, Query{Cursor: all[1].Cursor})); got != "three\nfour\n" {
		t.Errorf("a cursor whose bytes are there: %q", got)
	}
}

// Segments need not go in their order: somebody else may delete one.
func TestRead_GoesOnBehindAHole(t *testing.T) {
	d := newDisk(t.TempDir())
	d.writeSegment(t, "i1", Stdout, 0, "one\n")
	d.writeSegment(t, "i1", Stdout, 8, "three\n")
	f := follow(t, running(t, d.store()), Query{})
	f.want("one\nthree\n")
	d.writeSegment(t, "i1", Stdout, 22, "five\n")
	f.want("one\nthree\nfive\n")
	if got := text(read(t, d.store(), Query{Tail: new(2)})); got != "five\n" {
		t.Errorf("tail: %q", got)
	}
}

func TestRead_TellsHowMuchIsMissing(t *testing.T) {
	d := newDisk(t.TempDir())
	d.writeSegment(t, "i1", Stdout, 0, "one\ntw")
	d.writeSegment(t, "i1", Stdout, 8, "three\nfour\n")
	var got []string
	for _, e := range read(t, d.store(), Query{}) {
		if e.Gap {
			got = append(got, fmt.Sprint(e.Missed))
		} else {
			got = append(got, string(bytes.TrimSpace(e.Data)))
		}
	}
	// The beginning of a line whose end is gone is missing, too.
	if want := []string{"one", "4", "three", "four"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

// What is deleted while the lines are counted from the end is no error.
func TestRead_TailOfOutputThatIsDeletedMeanwhile(t *testing.T) {
	d := newDisk(t.TempDir())
	d.writeSegment(t, "i1", Stdout, 0, "one\ntw")
	d.writeSegment(t, "i1", Stdout, 6, "o\nthree\n")
	in := d.store().openInstance("web", "i1", []string{Stdout})
	lines := 0
	err := tail([]*instance{in}, func(*backward) bool {
		if lines++; lines == 1 {
			_ = os.Remove(filepath.Join(d.dir, "web", "i1", "stdout.0"))
		}
		return true
	}, nil)
	if s := in.streams[0]; err != nil || s.pos != 6 {
		t.Errorf("begins at %d, %v, want at 6, where what is left does", s.pos, err)
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
		err := d.store().Read(t.Context(), tt.q, Sink[[]Entry]{})
		if f, ok := errors.AsType[*app.Fault](err); !ok || f.Kind != tt.kind {
			t.Errorf("%s: %v, want kind %d", name, err, tt.kind)
		}
	}
	if err := d.store().Read(t.Context(), Query{App: "never-started"}, Sink[[]Entry]{}); err != nil {
		t.Errorf("an app without output: %v", err)
	}
}

func TestRead_AnErrorOfTheReaderEndsIt(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "x\n")
	stop := errors.New("stop")
	if err := d.store().Read(t.Context(), Query{App: "web"}, into(func([]Entry) error { return stop })); !errors.Is(err, stop) {
		t.Error(err)
	}
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
