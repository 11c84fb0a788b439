package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// logReader reads an app's stdout and goes on by its cursor whenever it is cut off.
type logReader struct {
	h    *host
	name string

	mu      sync.Mutex
	cursor  string
	by      map[string]*numbered // instance → what it wrote
	bytes   int64
	missing int64 // bytes, as told
	cuts    int
	plain   bool // the lines are not numbered
}

func (h *host) newLogReader(name string) *logReader {
	return &logReader{h: h, name: name, by: map[string]*numbered{}}
}

// run follows until ctx ends, and leaves by itself after some steps.
func (r *logReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.session(ctx, 1+rand.IntN(20), true); err != nil {
			select { // a daemon that is dead
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
		r.mu.Lock()
		r.cuts++
		r.mu.Unlock()
	}
}

// session takes steps until the stream ends or there were so many, and tells why.
func (r *logReader) session(ctx context.Context, steps int, follow bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.h.logs.ReadLogs(ctx, &roostv1.ReadLogsRequest{
		App: r.name, Stream: roostv1.LogStream_LOG_STREAM_STDOUT, Cursor: r.cursor, Follow: follow,
	})
	if err != nil {
		return err
	}
	for range steps {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		r.see(m)
	}
	return nil
}

func (r *logReader) see(m *roostv1.ReadLogsResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing += m.GetDropped().GetBytes()
	for _, e := range m.GetBatch().GetEntries() {
		r.bytes += int64(len(e.Data))
		if r.plain {
			continue
		}
		if r.by[e.Instance] == nil {
			r.by[e.Instance] = &numbered{}
		}
		r.by[e.Instance].see(string(e.Data))
	}
	if m.Cursor != "" {
		r.cursor = m.Cursor
	}
}

// hasEnded tells whether the last words of so many instances have come.
func (r *logReader) hasEnded(instances int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.by {
		instances -= count(n.ended)
	}
	return instances == 0
}

// Who follows, is cut off again and again, and goes on by the cursor, gets each line
// once.
func TestFault_CursorsGoOnAcrossEverything(t *testing.T) {
	f := fault(t, "14", "a follower leaves and goes on by its cursor; rotation, recycles, the daemon is killed")
	f.Parallel()
	h := newHost(f)
	spec := h.counter("counter", 1000)
	spec.Logs = &roostv1.Logs{MaxSize: 64 << 10, MaxFiles: new(int32(100))}
	h.apply(spec)

	ctx, leave := context.WithCancel(h.Context())
	r := h.newLogReader("counter")
	var reading sync.WaitGroup
	reading.Go(func() { r.run(ctx) })
	defer reading.Wait()
	defer leave()
	rounds := f.size(2, 6)
	for range rounds {
		h.goOnWriting([]string{"counter"}, 100_000)
		h.rollout(h.recycle("counter"))
		h.goOnWriting([]string{"counter"}, 100_000)
		h.killDaemon([]string{"counter"})
	}
	h.stop("counter")
	h.eventually("all instances' last words have come", func() bool { return r.hasEnded(rounds + 1) })
	leave()
	reading.Wait()
	f.count("cuts", r.cuts)
	f.count("daemon kills", rounds)
	f.lost("bytes told to be missing", int(r.missing))
	for id, n := range r.by {
		n.tell(f, id)
	}
}

// Who comes back too late is told how much is gone, to the byte.
func TestFault_CursorsTellWhatIsMissing(t *testing.T) {
	f := fault(t, "14", "a reader comes back when its place was deleted")
	f.Parallel()
	h := newHost(f)
	spec := h.counter("counter", 50_000)
	spec.Logs = &roostv1.Logs{MaxSize: 64 << 10, MaxFiles: new(int32(4))}
	h.apply(spec)
	r := h.newLogReader("counter")
	h.eventually("there is something to read", func() bool { return r.session(h.Context(), 3, true) == nil && r.cursor != "" })
	for range f.size(2, 5) {
		h.goOnWriting([]string{"counter"}, 2<<20)
		if err := r.session(h.Context(), 3, false); err != nil {
			f.Fatal(err)
		}
	}
	h.stop("counter")
	for r.session(h.Context(), 1<<30, false) == nil { // until its end
	}
	written := h.newestByte("counter")
	f.count("bytes read", int(r.bytes))
	f.count("bytes told to be missing", int(r.missing))
	f.lost("bytes unaccounted for", int(max(written-r.bytes-r.missing, r.bytes+r.missing-written)))
	if r.missing == 0 {
		f.Error("nothing was deleted: the case shows nothing")
	}
}

// Whatever an app writes comes back byte for byte, in pieces of bounded size.
func TestFault_LinesOfAnyKind(t *testing.T) {
	f := fault(t, "15", "10 MB without a line end, NULs, invalid UTF-8, CRLF, split characters, a prompt, 1 M empty lines")
	f.Parallel()
	h := newHost(f)
	spec := h.spec("web")
	spec.Logs = &roostv1.Logs{MaxSize: 1 << 20, MaxFiles: new(int32(100))}
	h.apply(spec)
	h.get("web", "/").wants(f, http.StatusOK)
	want := []byte(h.startedLine("web"))
	ctx, cancel := context.WithCancel(h.Context())
	defer cancel()
	stream, err := h.logs.ReadLogs(ctx, &roostv1.ReadLogsRequest{App: "web", Stream: roostv1.LogStream_LOG_STREAM_STDOUT, Follow: true})
	if err != nil {
		f.Fatal(err)
	}
	var followed entries
	for _, piece := range [][]byte{
		bytes.Repeat([]byte("0123456789"), f.size(100_000, 1_000_000)), []byte("\n"),
		{0, 'a', 0, 0, '\n', 0xff, 0xfe, 0xc3, '\n', '\r', '\n', 'd', 'o', 's', '\r', '\n', '\r', 'x', '\n'},
		[]byte("caf\xc3"), []byte("\xa9\n"),
		bytes.Repeat([]byte("\n"), f.size(100_000, 1_000_000)),
		[]byte("prompt> "),
	} {
		began := time.Now()
		h.write("web", "stdout", piece)
		want = append(want, piece...)
		for len(followed.data) < len(want) {
			m, err := stream.Recv()
			if err != nil {
				f.Fatal(err)
			}
			followed.see(m)
		}
		if bytes.HasPrefix(piece, []byte("prompt")) {
			f.slowest("prompt", time.Since(began))
		}
	}
	followed.tell(f, "followed", want)
	h.stop("web")
	var history entries
	read, err := h.logs.ReadLogs(ctx, &roostv1.ReadLogsRequest{App: "web", Stream: roostv1.LogStream_LOG_STREAM_STDOUT})
	for err == nil {
		var m *roostv1.ReadLogsResponse
		if m, err = read.Recv(); err == nil {
			history.see(m)
		}
	}
	history.tell(f, "read again", want)
	f.rss(h)
}

// entries are what came of a stream.
type entries struct {
	data     []byte
	n        int
	longest  int
	unmarked int // entries whose partial mark is wrong
}

func (e *entries) see(m *roostv1.ReadLogsResponse) {
	for _, l := range m.GetBatch().GetEntries() {
		e.n++
		e.data = append(e.data, l.Data...)
		e.longest = max(e.longest, len(l.Data))
		e.unmarked += count(l.Partial == bytes.HasSuffix(l.Data, []byte("\n")))
	}
}

func (e *entries) tell(f *faultCase, how string, want []byte) {
	f.Helper()
	f.count("entries "+how, e.n)
	same := 0
	for same < len(want) && same < len(e.data) && want[same] == e.data[same] {
		same++
	}
	f.lost("bytes", max(len(want), len(e.data))-same)
	f.lost("partial marks", e.unmarked)
	if e.longest > 16<<10 {
		f.Errorf("%s: an entry has %d bytes", how, e.longest)
	}
}

// rss notes the daemon's memory, which must be bounded.
func (f *faultCase) rss(h *host) {
	f.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.daemon.pid()))
	if err != nil {
		f.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		f.Fatal(err)
	}
	f.count("MiB of the daemon", kib>>10)
	if kib>>10 > 200 {
		f.Errorf("the daemon takes %d MiB", kib>>10)
	}
}

// A subscriber that stops to read while its app floods costs neither the app its
// pace nor the daemon memory, and is told what it has missed.
func TestFault_ASubscriberThatStopsReading(t *testing.T) {
	f := fault(t, "12", "a subscriber stops reading during a flood of 100 MB/s")
	h := newHost(f)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(f, http.StatusOK)
	lines := f.size(250_000, 2_000_000)
	written := int64(len(h.startedLine("web")))
	flood := func() time.Duration {
		written += int64(lines) * 100
		r := h.get("web", "/flood?slow&lines="+strconv.Itoa(lines)).wants(f, http.StatusOK)
		took, err := time.ParseDuration(r.body)
		if err != nil {
			f.Fatal(err)
		}
		return took
	}
	flood() // so that both kinds find the same
	ctx, cancel := context.WithCancel(h.Context())
	defer cancel()
	var alone, watched []time.Duration
	for range f.size(3, 8) {
		alone = append(alone, flood())
		h.eventually("all of it is on disk", func() bool { return h.newestByte("web") == written })
		r := h.newLogReader("web")
		r.cursor, r.plain = h.endOf("web"), true
		at := written
		stuck, leave := context.WithCancel(ctx)
		stream, err := h.logs.ReadLogs(stuck, &roostv1.ReadLogsRequest{
			App: "web", Stream: roostv1.LogStream_LOG_STREAM_STDOUT, Cursor: r.cursor, Follow: true,
		})
		if err != nil {
			f.Fatal(err)
		}
		if m, err := stream.Recv(); err != nil || m.GetCaughtUp() == nil { // now it takes no more
			f.Fatalf("it does not catch up: %v", err)
		}
		for range 3 {
			watched = append(watched, flood())
		}
		if len(alone) == 1 {
			f.rss(h)
		}
		for r.bytes+r.missing < written-at {
			m, err := stream.Recv()
			if err != nil {
				f.Fatal(err)
			}
			r.see(m)
		}
		leave()
		f.lost("bytes unaccounted for", int(r.bytes+r.missing-(written-at)))
		f.count("bytes told to be missing", int(r.missing))
		if r.missing == 0 {
			f.Error("nothing was missing: the case shows nothing")
		}
	}
	// The best of each: what else the machine does costs both the same then.
	best := slices.Min(alone)
	percent := int(100 * best / slices.Min(watched))
	f.count("% of the pace alone", percent)
	f.count("MB/s alone", int(float64(lines*100)/best.Seconds()/1e6))
	if percent < 75 {
		f.Errorf("the app writes at %d%% of its pace", percent)
	}
}

// endOf is a cursor at the end of an app's stdout.
func (h *host) endOf(name string) string {
	h.Helper()
	ctx, cancel := context.WithCancel(h.Context())
	defer cancel()
	stream, err := h.logs.ReadLogs(ctx, &roostv1.ReadLogsRequest{
		App: name, Stream: roostv1.LogStream_LOG_STREAM_STDOUT, Tail: new(int32(0)), Follow: true,
	})
	if err != nil {
		h.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			h.Fatal(err)
		}
		if m.GetCaughtUp() != nil {
			return m.Cursor
		}
	}
}
