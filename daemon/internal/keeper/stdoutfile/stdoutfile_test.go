package stdoutfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 7, 8, 9, 10, 11, 0, time.FixedZone("east", 2*3600))

// rig is a copy of two segments that a test writes.
type rig struct {
	tb       testing.TB
	dir      string
	files    Files
	streams  [2]pump.Files
	segments [2]*os.File // the newest
	size     [2]int64
	copy     *Copy
	faults   []error
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	dir := tb.TempDir()
	return &rig{tb: tb, dir: dir, files: Files{
		Prefix: filepath.Join(dir, "logs", "out"), MaxSize: 1 << 20, MaxFiles: 5, Start: start, PID: 77,
		As: func(f func() error) error { return f() }, Open: &Open{},
	}}
}

func (r *rig) run() *rig {
	r.tb.Helper()
	for n := range r.streams {
		r.streams[n] = pump.Files{Dir: r.dir, Stream: []string{"stdout", "stderr"}[n]}
		r.roll(n)
	}
	r.copy = New(r.files, r.streams, func(err error) { r.faults = append(r.faults, err) }, hclog.NewNullLogger())
	go r.copy.Run(r.tb.Context())
	return r
}

// roll begins a new segment of a stream.
func (r *rig) roll(stream int) {
	r.tb.Helper()
	f, err := os.Create(r.streams[stream].Segment(r.size[stream]))
	if err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() { f.Close() })
	r.segments[stream] = f
}

func (r *rig) write(stream int, text string) {
	r.tb.Helper()
	if _, err := r.segments[stream].WriteString(text); err != nil {
		r.tb.Fatal(err)
	}
	r.size[stream] += int64(len(text))
	r.copy.Moved(stream, r.size[stream])
}

func (r *rig) end() {
	r.copy.Finish()
	<-r.copy.Done()
}

func (r *rig) read(name string) string {
	r.tb.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "logs", name))
	if err != nil {
		r.tb.Fatal(err)
	}
	return string(data)
}

// names lists the files in the folder of the copies.
func (r *rig) names() []string {
	entries, _ := os.ReadDir(filepath.Join(r.dir, "logs"))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.SortFunc(names, compareNames)
	return names
}

func TestCopy_HoldsBothStreamsInTheOrderOfTheirMoves(t *testing.T) {
	r := newRig(t).run()
	r.write(0, "one\n")
	r.write(1, "two\n")
	r.write(1, "three\n")
	r.write(0, "four, without an end")
	r.end()
	if got, want := r.read("out_20260708071011_77.log"), "one\ntwo\nthree\nfour, without an end"; got != want {
		t.Errorf("the copy is %q, want %q", got, want)
	}
	info, err := os.Stat(filepath.Join(r.dir, "logs", "out_20260708071011_77.log"))
	if err != nil || info.Mode().Perm() != 0o640 { // the token may be in it
		t.Errorf("mode %v, %v, want 0640", info.Mode(), err)
	}
	if len(r.faults) > 0 {
		t.Errorf("faults: %v", r.faults)
	}
}

func TestCopy_HasAFileThoughNothingIsWritten(t *testing.T) {
	r := newRig(t).run()
	r.end()
	if got := r.read("out_20260708071011_77.log"); got != "" {
		t.Errorf("the copy is %q", got)
	}
}

func TestCopy_GoesOnInTheNextFileAtALineEnd(t *testing.T) {
	r := newRig(t)
	r.files.MaxSize, r.files.MaxFiles = 4096, 1000
	r.run()
	var want strings.Builder
	for i := range 2000 {
		line := fmt.Sprintf("line %d of stream %d %s\n", i, i%2, strings.Repeat("x", i%37))
		r.write(i%2, line)
		want.WriteString(line)
	}
	r.end()
	var got strings.Builder
	for n, name := range r.names() {
		if wanted := filepath.Base(r.files.name(n)); name != wanted {
			t.Fatalf("file %d is %s, want %s", n, name, wanted)
		}
		text := r.read(name)
		if len(text) > 4096 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s has %d bytes and ends in %q", name, len(text), text[max(0, len(text)-5):])
		}
		got.WriteString(text)
	}
	if got.String() != want.String() {
		t.Errorf("the files hold %d bytes, want the %d that were written", got.Len(), want.Len())
	}
	if n := len(r.names()); n < want.Len()/4096 {
		t.Errorf("%d files", n)
	}
}

func TestCopy_ASingleLongLineFillsFiles(t *testing.T) {
	r := newRig(t)
	r.files.MaxSize = 4096
	r.run()
	line := strings.Repeat("abcdefg", 2000) + "\n"
	r.write(0, line)
	r.end()
	var got strings.Builder
	for _, name := range r.names() {
		text := r.read(name)
		if len(text) > 4096 {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		got.WriteString(text)
	}
	if got.String() != line {
		t.Errorf("%d bytes, want %d", got.Len(), len(line))
	}
}

func TestCopy_KeepsWithinItsBoundAndDeletesTheOldest(t *testing.T) {
	r := newRig(t)
	r.files.MaxSize, r.files.MaxFiles = 4096, 3
	logs := filepath.Join(r.dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	keep := []string{"out_2026_77.log", "out_20260101000000_77.txt", "other_20260101000000_77.log", "out_20260101000000_77_1_2.log", "out.log"}
	for _, name := range append(keep, "out_20260101000000_9.log", "out_20260101000001_10_3.log") {
		if err := errors.Join(
			os.WriteFile(filepath.Join(logs, name), make([]byte, 4096), 0o600),
			os.Chtimes(filepath.Join(logs, name), old, old),
		); err != nil {
			t.Fatal(err)
		}
	}
	busy := filepath.Join(logs, "out_20260101000000_9.log")
	r.files.Open.add(busy) // of another instance
	r.run()
	for i := range 1000 {
		r.write(0, fmt.Sprintf("line %6d: some text\n", i))
	}
	r.end()
	var ours []string
	sum := int64(0)
	for _, name := range r.names() {
		if slices.Contains(keep, name) {
			continue
		}
		ours = append(ours, name)
		info, err := os.Stat(filepath.Join(logs, name))
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	if sum > 3*4096 || len(ours) != 3 || ours[0] != filepath.Base(busy) {
		t.Errorf("%d bytes in %q, want the one in use and the last two", sum, ours)
	}
	if got := r.read(ours[len(ours)-1]); !strings.HasSuffix(got, "line    999: some text\n") {
		t.Errorf("the newest file ends in %q", got[max(0, len(got)-40):])
	}
	for _, name := range keep {
		if _, err := os.Stat(filepath.Join(logs, name)); err != nil {
			t.Errorf("what is not ours: %v", err)
		}
	}
}

// Starts that write nothing must not fill a folder.
func TestCopy_EmptyFilesAreBoundedToo(t *testing.T) {
	r := newRig(t)
	r.files.MaxFiles = 2
	for pid := range 150 {
		r.files.PID = pid + 1
		r.run()
		r.end()
	}
	if n := len(r.names()); n > leastShare+1 || n < 50 {
		t.Errorf("%d files are kept", n)
	}
}

func TestCopy_PassesOverWhatHasItsName(t *testing.T) {
	r := newRig(t)
	victim := filepath.Join(r.dir, "victim")
	first, second := r.files.name(0), r.files.name(1)
	if err := errors.Join(
		os.WriteFile(victim, []byte("precious"), 0o600), os.Mkdir(filepath.Dir(first), 0o700),
		os.Symlink(victim, first), os.Symlink(filepath.Join(r.dir, "made"), second),
	); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.write(0, "text\n")
	r.end()
	if data, err := os.ReadFile(victim); string(data) != "precious" || err != nil {
		t.Errorf("the file behind the link is now %q, %v", data, err)
	}
	if _, err := os.Lstat(filepath.Join(r.dir, "made")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made through a link: %v", err)
	}
	if got := r.read(filepath.Base(r.files.name(2))); got != "text\n" {
		t.Errorf("the copy is %q", got)
	}
}

func TestCopy_TellsThatItCannotWriteAndEnds(t *testing.T) {
	r := newRig(t)
	r.files.Prefix = filepath.Join(r.dir, "stdout.0", "out") // a file stands in its way
	r.run()
	<-r.copy.Done()
	r.write(0, "text\n")
	r.end()
	if len(r.faults) != 1 || !errors.Is(r.faults[0], syscall.ENOTDIR) && !errors.Is(r.faults[0], fs.ErrNotExist) {
		t.Errorf("faults %v, want one", r.faults)
	}
	if len(r.copy.queue) > 0 {
		t.Error("it remembers what nobody will copy")
	}
}

func TestCopy_GoesOnWhenItsFileIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t).run()
		r.write(0, "before\n")
		synctest.Wait()
		if err := os.RemoveAll(filepath.Join(r.dir, "logs")); err != nil {
			t.Fatal(err)
		}
		r.write(0, "after\n")
		r.end()
		if got := r.read("out_20260708071011_77_1.log"); got != "after\n" {
			t.Errorf("the copy is %q", got)
		}
	})
}

// A disk that is full for a while costs the copy nothing.
func TestCopy_WaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var full atomic.Bool
		r.files.MaxSize = 4096
		r.files.As = func(f func() error) error {
			if full.Load() {
				return syscall.ENOSPC
			}
			return f()
		}
		r.run()
		synctest.Wait()
		full.Store(true)
		text := strings.Repeat("0123456\n", 1024)
		r.write(1, text)
		time.Sleep(time.Minute)
		full.Store(false)
		time.Sleep(2 * stallWait)
		r.end()
		var got strings.Builder
		for _, name := range r.names() {
			got.WriteString(r.read(name))
		}
		if got.String() != text {
			t.Errorf("%d bytes, want %d", got.Len(), len(text))
		}
		if len(r.faults) != 1 || !errors.Is(r.faults[0], syscall.ENOSPC) {
			t.Errorf("faults %v, want one", r.faults)
		}
	})
}

func TestCopy_OfAnEndedInstanceIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var full atomic.Bool
		r.files.As = func(f func() error) error {
			if full.Load() {
				return syscall.ENOSPC
			}
			return f()
		}
		r.files.MaxSize = 4096
		r.run()
		synctest.Wait()
		full.Store(true)
		r.write(0, strings.Repeat("0123456\n", 1024))
		synctest.Wait()
		began := time.Now()
		r.end()
		if took := time.Since(began); took > stallWait {
			t.Errorf("it took %v", took)
		}
	})
}

func TestFitting(t *testing.T) {
	for _, tt := range []struct {
		text       string
		size, most int64
		midLine    bool
		want       int
	}{
		{"abc\n", 0, 10, false, 4},
		{"abc\ndef\n", 4, 10, false, 4},
		{"abc\ndef\n", 4, 12, false, 8},
		{"abcdef\n", 6, 10, false, 0},
		{"abcdef\n", 6, 10, true, 4}, // the line began before
		{"abcdef\n", 10, 10, true, 0},
		{"abcdef\n", 99, 10, true, 0},
		{"abcdefghijkl\n", 0, 10, false, 10},
	} {
		if got := fitting([]byte(tt.text), tt.size, tt.most, tt.midLine); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

func TestEnqueue_LosesNoByteWhenItIsLong(t *testing.T) {
	var queue []piece
	for i := range 3 * manyPieces {
		queue = enqueue(queue, piece{i % 2, int64(i)})
	}
	last := [2]int64{}
	for _, p := range queue {
		if p.end < last[p.stream] {
			t.Fatalf("stream %d goes back to %d", p.stream, p.end)
		}
		last[p.stream] = p.end
	}
	if len(queue) > manyPieces || last != [2]int64{3*manyPieces - 2, 3*manyPieces - 1} {
		t.Errorf("%d pieces up to %v", len(queue), last)
	}
}

func FuzzIsOurs(f *testing.F) {
	f.Add("out_20260708071011_77.log", "out")
	f.Add("out_20260708071011_77_12.log", "out")
	f.Add("_20260708071011_7.log", "")
	f.Fuzz(func(t *testing.T, name, base string) {
		want := regexp.MustCompile(`^` + regexp.QuoteMeta(base) + `_[0-9]{14}_[0-9]+(_[0-9]+)?\.log$`)
		if !bytes.ContainsAny([]byte(base+name), "\n") && isOurs(name, base) != want.MatchString(name) && isValidUTF8(base+name) {
			t.Errorf("%q with prefix %q: %v", name, base, isOurs(name, base))
		}
	})
}

func isValidUTF8(s string) bool { return strings.ToValidUTF8(s, "") == s }

// Segments change below the copy, and old ones may be gone before it gets to them.
func TestCopy_FollowsTheSegments(t *testing.T) {
	r := newRig(t).run()
	r.write(0, "one\n")
	r.roll(0)
	r.write(0, "two\n")
	r.roll(1)
	r.write(1, "error\n")
	r.end()
	if got := r.read("out_20260708071011_77.log"); got != "one\ntwo\nerror\n" || len(r.faults) > 0 {
		t.Errorf("copied %q, faults %v", got, r.faults)
	}
}

func TestCopy_SaysWhatWasGoneBeforeItWasCopied(t *testing.T) {
	r := newRig(t)
	begin := make(chan struct{})
	r.files.As = func(f func() error) error { <-begin; return f() }
	r.run()
	r.write(0, "deleted\n")
	r.roll(0)
	r.write(0, "kept\n")
	if err := os.Remove(r.streams[0].Segment(0)); err != nil {
		t.Fatal(err)
	}
	close(begin)
	r.write(0, "and what comes\n")
	r.end()
	got := r.read("out_20260708071011_77.log")
	if got != "kept\nand what comes\n" || len(r.faults) != 1 {
		t.Errorf("copied %q, faults %v, want what is left and one fault", got, r.faults)
	}
}
