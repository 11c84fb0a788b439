package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// An app that writes without end fills no disk: the newest of its output is kept,
// whole, and an event says that the rest is not.
func TestLogs_OfAFloodTheNewestIsKept(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("counter", "-count", "100000")
	spec.Routes, spec.Listen = nil, &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}
	spec.Logs = &roostv1.Logs{MaxSize: 64 << 10, MaxFiles: new(int32(4))}
	h.apply(spec)
	const bound = 4 * 64 << 10
	h.eventually("far more was written than is kept", func() bool { return h.newestByte("counter") > 4*bound })
	h.eventually("an event tells", func() bool { return h.count("counter", "OutputDeleted") == 1 })
	h.stop("counter")
	// With what was being written, one segment a stream, and their indexes.
	size := h.outputSize("counter")
	if size > bound+3*64<<10 {
		t.Errorf("%d bytes are on disk, want no more than about %d", size, bound)
	}
	lines := strings.Split(strings.TrimSuffix(h.ctlOut("logs", "counter"), "\n"), "\n")
	lines = lines[1 : len(lines)-1] // but the first, which may be cut, and the app's last words
	if len(lines) < 1000 {
		t.Fatalf("%d lines are left", len(lines))
	}
	var first int
	if _, err := fmt.Sscanf(lines[0], "line %d", &first); err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		if want := fmt.Sprintf("line %08d ", first+i); !strings.HasPrefix(line, want) {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
}

// segments calls f with each file of an app's stdout.
func (h *host) segments(name string, f func(path string, start int64)) {
	h.Helper()
	paths, err := filepath.Glob(filepath.Join(h.dir, "state", "logs", name, "*", "stdout.*"))
	if err != nil {
		h.Fatal(err)
	}
	for _, path := range paths {
		var start int64
		if _, err := fmt.Sscanf(filepath.Base(path), "stdout.%d", &start); err == nil && !strings.HasSuffix(path, ".idx") {
			f(path, start)
		}
	}
}

// newestByte is how much an app's only instance has written.
func (h *host) newestByte(name string) (end int64) {
	h.segments(name, func(path string, start int64) {
		if info, err := os.Stat(path); err == nil {
			end = max(end, start+info.Size())
		}
	})
	return end
}

// outputSize is what an app's stdout takes on disk.
func (h *host) outputSize(name string) (size int64) {
	h.segments(name, func(path string, _ int64) {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	})
	return size
}
