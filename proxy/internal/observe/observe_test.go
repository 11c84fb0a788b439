package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/roostd/roost/proxy/internal/forward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func record() *forward.Record {
	return &forward.Record{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600)),
		App:  "shop", Instance: "i1", Generation: 3, Client: "192.0.2.1",
		Host: []byte("shop.example:8080"), Method: []byte("GET"), Path: []byte("/a b"), Query: []byte("?q=1&r"),
		Proto: "HTTP/1.1", Status: 200, BytesIn: 10, BytesOut: 2000,
		Duration: 1234567 * time.Nanosecond, Wait: 1500 * time.Microsecond, Backend: 2 * time.Second, RequestID: []byte("r1"),
	}
}

func TestAppendJSON_FieldsInOrder(t *testing.T) {
	const want = `{"time":"2026-01-02T02:04:05.678Z","app":"shop","instance":"i1","generation":3,"client":"192.0.2.1",` +
		`"host":"shop.example:8080","method":"GET","path":"/a b","query":"q=1&r","proto":"HTTP/1.1","status":200,"error":"",` +
		`"bytes_in":10,"bytes_out":2000,"duration_ms":1.234,"wait_ms":1.5,"backend_ms":2000,"request_id":"r1"}` + "\n"
	if got := string(appendJSON(nil, record())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAppendCombined(t *testing.T) {
	r := record()
	const want = `192.0.2.1 - - [02/Jan/2026:03:04:05 +0100] "GET /a b?q=1&r HTTP/1.1" 200 2000 "-" "-"` + "\n"
	if got := string(appendCombined(nil, r)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.Referer, r.UserAgent = []byte("http://a/"), []byte(`x "y`)
	if got := string(appendCombined(nil, r)); !strings.HasSuffix(got, ` 2000 "http://a/" "x \x22y"`+"\n") {
		t.Errorf("got %s, want referer and agent", got)
	}
	r.Path = []byte("/\"\\\n\xff")
	const escaped = `"GET /\x22\x5C\x0A\xFF?q=1&r HTTP/1.1"`
	if got := string(appendCombined(nil, r)); !strings.Contains(got, escaped) || strings.Count(got, "\n") != 1 {
		t.Errorf("got %s, want it to have %s", got, escaped)
	}
	if got := string(appendCombined(nil, &forward.Record{Status: 400})); !strings.HasPrefix(got, "- - - [") || !strings.Contains(got, `] "-" 400 0`) {
		t.Errorf("got %s for a malformed request", got)
	}
}

func TestAppendMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 999: "0", time.Microsecond: "0.001", 10 * time.Microsecond: "0.01", 100 * time.Microsecond: "0.1", 120 * time.Microsecond: "0.12",
		time.Millisecond: "1", 1001 * time.Microsecond: "1.001", 61 * time.Second: "61000", time.Hour + 500*time.Microsecond: "3600000.5",
	} {
		if got := string(appendMillis(nil, "", d)); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

func TestAppend_DoesNotAllocate(t *testing.T) {
	r, b := record(), make([]byte, 0, 1024)
	for name, f := range map[string]func([]byte, *forward.Record) []byte{"json": appendJSON, "combined": appendCombined} {
		if n := testing.AllocsPerRun(100, func() { f(b, r) }); n != 0 {
			t.Errorf("%s: %v allocations a line", name, n)
		}
	}
}

func FuzzAppendJSON(f *testing.F) {
	f.Add([]byte("/a\"\\\x00\n\x7f\xff\u2028ä€😀"))
	f.Fuzz(func(t *testing.T, path []byte) {
		line := appendJSON(nil, &forward.Record{Path: path, App: string(path)})
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%q is not one line", line)
		}
		var got struct{ Path, App string }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := string([]rune(string(path))) // invalid bytes become U+FFFD, one each
		if !utf8.Valid(line) || got.Path != want || got.App != want {
			t.Fatalf("%q came back as %q and %q", path, got.Path, got.App)
		}
	})
}

// buffer is an io.Writer that can be read meanwhile.
type buffer struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	return b.b.Write(p)
}

func (b *buffer) lines() (lines, writes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Count(b.b.Bytes(), []byte("\n")), b.writes
}

// run runs a log to out in a bubble.
func run(t *testing.T, out io.Writer, f func(t *testing.T, a *AccessLog, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, err := New("", out, JSON, nil, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = a.Run(ctx) })
		stop := func() { cancel(); wg.Wait() }
		defer stop()
		f(t, a, stop)
	})
}

func TestAccessLog_ALineAfterAPauseIsWrittenAtOnceAndManyTogether(t *testing.T) {
	var out buffer
	run(t, &out, func(t *testing.T, a *AccessLog, _ func()) {
		for i := range 3 {
			a.Exchange(record())
			synctest.Wait()
			if n, writes := out.lines(); n != i+1 || writes != i+1 {
				t.Errorf("%d lines in %d writes, want %d", n, writes, i+1)
			}
			time.Sleep(flushEvery + time.Millisecond)
		}
		for range 10 {
			a.Exchange(record())
			time.Sleep(flushEvery / 10)
			synctest.Wait()
		}
		time.Sleep(flushEvery)
		synctest.Wait()
		if n, writes := out.lines(); n != 13 || writes > 5 {
			t.Errorf("%d lines in %d writes, want 13 in 5", n, writes)
		}
	})
}

func TestAccessLog_ManyLinesAreWrittenSooner(t *testing.T) {
	var out buffer
	run(t, &out, func(t *testing.T, a *AccessLog, _ func()) {
		for range 1000 {
			a.Exchange(record())
		}
		synctest.Wait()
		if n, _ := out.lines(); n == 0 {
			t.Error("nothing written of 1000 lines")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n, _ := out.lines(); n != 1000 {
			t.Errorf("%d lines, want 1000", n)
		}
	})
}

func TestAccessLog_EndWritesWhatIsLeft(t *testing.T) {
	var out buffer
	run(t, &out, func(t *testing.T, a *AccessLog, stop func()) {
		a.Exchange(record())
		stop()
		if n, _ := out.lines(); n != 1 {
			t.Errorf("%d lines, want 1", n)
		}
	})
}

// stuck is a writer that waits to be let go.
type stuck struct{ release chan struct{} }

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	return len(p), errors.New("late")
}

func TestAccessLog_StuckFileSlowsNobodyAndIsBounded(t *testing.T) {
	s := &stuck{}
	run(t, s, func(t *testing.T, a *AccessLog, stop func()) {
		s.release = make(chan struct{})
		defer close(s.release)
		line := make([]byte, 1<<20)
		for range 20 {
			a.add(line)
			synctest.Wait()
		}
		a.mu.Lock()
		pending, dropped := len(a.pending), a.dropped
		a.mu.Unlock()
		if pending > maxPending || dropped != 11 { // one is being written, 8 wait
			t.Errorf("%d bytes pending and %d lines dropped", pending, dropped)
		}
	})
}

func TestAccessLog_ReopensItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	reopen := make(chan os.Signal)
	a, err := New(path, nil, Combined, reopen, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Run(ctx) })
	a.Exchange(record())
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	reopen <- os.Interrupt
	reopen <- os.Interrupt // taken only when the first is done
	a.Exchange(record())
	a.Exchange(record())
	cancel()
	wg.Wait()
	for name, want := range map[string]int{path + ".1": 1, path: 2} {
		b, err := os.ReadFile(name)
		if got := bytes.Count(b, []byte("\n")); err != nil || got != want {
			t.Errorf("%s has %d lines, %v; want %d", name, got, err, want)
		}
	}
}

func TestNew_Faults(t *testing.T) {
	if _, err := New("", io.Discard, "xml", nil, hclog.NewNullLogger()); err == nil {
		t.Error("a format that there is not was taken")
	}
	if _, err := New(filepath.Join(t.TempDir(), "none", "x"), nil, JSON, nil, hclog.NewNullLogger()); err == nil {
		t.Error("a file that cannot be made was taken")
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	r, line := record(), make([]byte, 0, 1024)
	for b.Loop() {
		line = appendJSON(line[:0], r)
	}
}
