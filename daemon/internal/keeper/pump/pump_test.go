package pump

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if lines, ok := os.LookupEnv(floodVariable); ok {
		flood(lines)
		return
	}
	goleak.VerifyTestMain(m)
}

// stream is a FIFO that an app has open as the keeper gives it, and its pump.
type stream struct {
	app  *os.File
	fifo string
	pump *Pump
	dir  string
	done chan struct{}
}

func newStream(tb testing.TB, dir string) *stream {
	tb.Helper()
	fifo := filepath.Join(tb.TempDir(), "stdout")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		tb.Fatal(err)
	}
	fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	s := &stream{app: os.NewFile(uintptr(fd), "app"), fifo: fifo, dir: dir, done: make(chan struct{})}
	tb.Cleanup(func() { s.app.Close() })
	s.pump, err = Open(newPoller(tb), fifo, Files{Dir: dir, Stream: "stdout", GID: -1}, hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.pump.Create(); err != nil {
		tb.Fatal(err)
	}
	return s
}

// newPoller returns a poller that runs until the test's end.
func newPoller(tb testing.TB) *Poller {
	tb.Helper()
	p, err := NewPoller()
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	return p
}

func (s *stream) run() {
	go func() {
		defer close(s.done)
		s.pump.Run()
	}()
}

func (s *stream) segment(tb testing.TB) string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "stdout.0"))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestPump_MovesAllAndEndsWithTheWriter(t *testing.T) {
	s := newStream(t, t.TempDir())
	s.run()
	var want strings.Builder
	for i := range 5000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		if _, err := s.app.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	s.app.Close()
	<-s.done
	if got := s.segment(t); got != want.String() {
		t.Errorf("segment has %d bytes, want the %d written", len(got), want.Len())
	}
}

func TestPump_FinishDrainsThoughAWriterStays(t *testing.T) {
	s := newStream(t, t.TempDir())
	want := strings.Repeat("x", 60<<10)
	if _, err := s.app.WriteString(want); err != nil {
		t.Fatal(err)
	}
	s.pump.Finish()
	s.run()
	<-s.done
	if got := s.segment(t); got != want {
		t.Errorf("segment has %d bytes, want %d", len(got), len(want))
	}
}

func TestPump_ContinuesASegment(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"one\n", "two\n"} {
		s := newStream(t, dir)
		s.run()
		s.app.WriteString(text)
		s.app.Close()
		<-s.done
		if text == "two\n" && s.segment(t) != "one\ntwo\n" {
			t.Errorf("segment = %q", s.segment(t))
		}
	}
	index, err := os.ReadFile(filepath.Join(dir, "stdout.0.idx"))
	if err != nil || len(index) != 2*entry {
		t.Fatalf("index has %d bytes, %v, want two entries", len(index), err)
	}
	for i, want := range []uint64{0, 4} {
		if got := binary.BigEndian.Uint64(index[i*entry+8:]); got != want {
			t.Errorf("batch %d begins at %d, want %d", i, got, want)
		}
		at := time.Unix(0, int64(binary.BigEndian.Uint64(index[i*entry:])))
		if d := time.Since(at); d < 0 || d > time.Minute {
			t.Errorf("batch %d is of %v", i, at)
		}
	}
}

// A disk that is full must neither lose a byte nor end the pump.
func TestPump_WaitsForADiskThatIsFull(t *testing.T) {
	dir := smallDisk(t, "64k")
	hog := filepath.Join(dir, "hog")
	s := newStream(t, dir)
	if err := os.WriteFile(hog, make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := make(logLines, 64)
	s.pump.log = hclog.New(&hclog.LoggerOptions{Output: lines, Level: hclog.Debug})
	s.pump.SetLimits(0, true)
	s.run()
	var want bytes.Buffer
	for i := range 40 {
		want.WriteString(strings.Repeat(strconv.Itoa(i%10), 1023) + "\n")
	}
	if _, err := s.app.Write(want.Bytes()); err != nil {
		t.Fatal(err)
	}
	warnings := 0
	for range 3 { // it tries again and again
		if strings.Contains(<-lines, "[WARN]") {
			warnings++
		}
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	s.app.Close()
	<-s.done
	if warnings != 1 {
		t.Errorf("it warned %d times of three, want once", warnings)
	}
	if got := s.segment(t); got != want.String() {
		t.Errorf("segment has %d bytes, want %d", len(got), want.Len())
	}
}

// logLines passes on what is logged.
type logLines chan string

func (c logLines) Write(b []byte) (int, error) {
	select {
	case c <- string(b):
	default:
	}
	return len(b), nil
}

// A segment that cannot be begun leaves nothing behind: readers and the next keeper
// would take it for where the stream goes on.
func TestPump_ASegmentThatCannotBeBegunIsNone(t *testing.T) {
	s := newStream(t, t.TempDir())
	s.pump.SetLimits(4, false)
	blocked := s.pump.files.Segment(4) + IndexSuffix
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(blocked, "file"), nil, 0o600); err != nil { // keeps the folder there
		t.Fatal(err)
	}
	moved := make(chan int64, 8)
	s.pump.OnMove(func(end int64) { moved <- end })
	s.run()
	for _, text := range []string{"one\n", "two\n"} {
		if _, err := s.app.WriteString(text); err != nil {
			t.Fatal(err)
		}
		<-moved
	}
	if start, err := s.pump.files.Holding(7); start != 0 || err != nil { // at 8 the next may be begun already
		t.Errorf("the stream goes on in the segment at %d, %v, want the old one", start, err)
	}
	if got := s.segment(t); got != "one\ntwo\n" {
		t.Errorf("the old segment has %q", got)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	s.app.WriteString("six\n")
	<-moved
	if start, err := s.pump.files.Holding(8); start != 8 || err != nil {
		t.Errorf("the stream goes on in the segment at %d, %v, want a new one", start, err)
	}
	s.app.Close()
	<-s.done
}

func TestPump_CopiesWhereTheFileSystemCannotSplice(t *testing.T) {
	s := newStream(t, t.TempDir())
	s.pump.plain = true
	s.run()
	s.app.WriteString("text\n")
	s.app.Close()
	<-s.done
	if got := s.segment(t); got != "text\n" {
		t.Errorf("segment = %q", got)
	}
}

func TestPump_ManyCostNoThreads(t *testing.T) {
	before := threads(t)
	var streams []*stream
	for range 200 {
		s := newStream(t, t.TempDir())
		s.run()
		streams = append(streams, s)
	}
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() { s.app.WriteString("hello\n") })
	}
	wg.Wait()
	if n := threads(t); n > before+50 {
		t.Errorf("%d threads for 200 streams, %d before", n, before)
	}
	for _, s := range streams {
		s.app.Close()
		<-s.done
		if s.segment(t) != "hello\n" {
			t.Errorf("segment = %q", s.segment(t))
		}
	}
}

func threads(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestMakeDir_Permissions(t *testing.T) {
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	root := filepath.Join(t.TempDir(), "logs")
	dir, err := MakeDir(root, "web", "id", -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{root, filepath.Dir(dir), dir} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%s: %v, %v, want 0750", d, info.Mode(), err)
		}
	}
}

func TestPace_SilenceIsAnsweredAtOnceAndFloodsAreGathered(t *testing.T) {
	var p pace
	if d := p.after(10, true); d != paceMin {
		t.Errorf("after a silence %v, want %v", d, paceMin)
	}
	for range 10 {
		p.after(100, false)
	}
	if p.d != paceMax {
		t.Errorf("many small batches wait %v, want %v", p.d, paceMax)
	}
	for range 10 {
		p.after(manyBytes, false)
	}
	if p.d != 0 {
		t.Errorf("full pipes wait %v, want none", p.d)
	}
	if d := p.after(10, true); d != paceMin {
		t.Errorf("after a silence again %v, want %v", d, paceMin)
	}
}

// BenchmarkPump_Lines is what moving 100-byte lines costs the pump, which is alone
// in this process: the writer is another, as an app is.
func BenchmarkPump_Lines(b *testing.B) {
	for name, lines := range map[string]int{"one a write": 1, "64 KiB a write": 655} {
		b.Run(name, func(b *testing.B) {
			s := newStream(b, b.TempDir())
			cmd := exec.Command(os.Args[0])
			cmd.Env = []string{floodVariable + "=" + strconv.Itoa(lines)}
			cmd.Stdout = s.app
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			s.app.Close()
			start := cpu(b)
			s.pump.Run()
			used := cpu(b) - start
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(floodSize/1e6/used.Seconds(), "MB/CPU-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

const (
	floodVariable = "ROOST_TEST_FLOOD"
	floodSize     = 100 << 20
)

// flood writes lines of 100 bytes, so many a write.
func flood(lines string) {
	n, _ := strconv.Atoi(lines)
	buf := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", n))
	for written := 0; written < floodSize; written += len(buf) {
		if _, err := unix.Write(1, buf); err != nil {
			os.Exit(1)
		}
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
