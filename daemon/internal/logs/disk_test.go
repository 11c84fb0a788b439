package logs

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

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
	// The bytes are a little older than their entry.
	if err := os.Chtimes(path, time.Time{}, d.now.Add(-time.Microsecond)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path+".idx", time.Time{}, d.now); err != nil {
		t.Fatal(err)
	}
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
	err := s.Read(context.Background(), q, into(func(e []Entry) error { all = append(all, e...); return nil }))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// into is a sink of entries alone.
func into[T any](emit func(T) error) Sink[T] {
	return Sink[T]{Emit: emit, CaughtUp: func(string) error { return nil }}
}

func text(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.Write(e.Data)
	}
	return b.String()
}
