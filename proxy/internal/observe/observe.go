// Package observe writes down what the proxy did: the access log.
package observe

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/proxy/internal/forward"
)

const (
	// flushEvery is how long a line may stay in memory, where there are so many that
	// they are written together: what a killed proxy loses of its log. A line after a
	// pause is written at once. A hundred writes a second cost 0.1 % of a core.
	flushEvery = 10 * time.Millisecond
	// flushAt is how many bytes are written together at the most, about.
	flushAt = 64 << 10
	// maxPending bounds the memory while the disk does not keep up. Lines beyond
	// it are dropped, and counted: a slow disk must not slow requests.
	maxPending = 8 << 20
)

// Format is the form of a line.
type Format string

// The formats.
const (
	JSON     Format = "json"     // one object a line
	Combined Format = "combined" // as Apache and nginx write it
)

// AccessLog writes a line an exchange.
type AccessLog struct {
	path   string // "": out is not ours
	format func([]byte, *forward.Record) []byte
	log    hclog.Logger
	reopen <-chan os.Signal

	out  io.Writer
	file *os.File // out, where it is ours

	ready chan struct{} // holds one: lines are pending
	full  chan struct{} // holds one: they are many

	mu      sync.Mutex
	pending []byte
	spare   []byte // the buffer that pending takes turns with
	dropped int
}

var _ forward.Observer = (*AccessLog)(nil)

// New returns an access log to stdout, or where that is nil to the file at path,
// which it makes or goes on with. On each value of reopen the file is opened
// anew, so that it can be renamed away. Run must be called for lines to arrive.
func New(path string, stdout io.Writer, f Format, reopen <-chan os.Signal, log hclog.Logger) (*AccessLog, error) {
	a := &AccessLog{
		log: log, reopen: reopen, out: stdout,
		ready: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	switch f {
	case JSON:
		a.format = appendJSON
	case Combined:
		a.format = appendCombined
	default:
		return nil, fmt.Errorf("access log format %q: want json or combined", f)
	}
	if stdout == nil {
		a.path = path
		if err := a.open(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// scratch has the buffers that lines are made in, outside the lock.
var scratch = sync.Pool{New: func() any { return new(make([]byte, 0, 1024)) }}

// Exchange takes the line of r. It does not wait for the file.
func (a *AccessLog) Exchange(r *forward.Record) {
	line := scratch.Get().(*[]byte)
	*line = a.format((*line)[:0], r)
	a.add(*line)
	scratch.Put(line)
}

func (a *AccessLog) add(line []byte) {
	a.mu.Lock()
	before := len(a.pending)
	if before+len(line) <= maxPending {
		a.pending = append(a.pending, line...)
	} else {
		a.dropped++
	}
	after := len(a.pending)
	a.mu.Unlock()

	if before == 0 {
		poke(a.ready)
	}
	if before < flushAt && after >= flushAt {
		poke(a.full)
	}
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run writes lines until ctx ends, and then those that are left.
func (a *AccessLog) Run(ctx context.Context) error {
	defer a.close()
	rested := time.NewTimer(flushEvery)
	rested.Stop()
	defer rested.Stop()
	ready := a.ready
	for {
		select {
		case <-ready:
			a.flush()
			ready = nil
			rested.Reset(flushEvery)
		case <-rested.C:
			ready = a.ready
		case <-a.full:
			a.flush()
		case <-a.reopen:
			a.flush()
			a.renew()
		case <-ctx.Done():
			a.flush()
			return nil
		}
	}
}

// flush writes what is pending.
func (a *AccessLog) flush() {
	a.mu.Lock()
	lines, dropped := a.pending, a.dropped
	a.pending, a.spare, a.dropped = a.spare[:0], nil, 0
	a.mu.Unlock()

	if len(lines) > 0 {
		if _, err := a.out.Write(lines); err != nil {
			a.log.Error("access log lines lost", "path", a.path, "bytes", len(lines), "error", err)
		}
	}
	if dropped > 0 {
		a.log.Error("access log lines lost, the file does not keep up", "path", a.path, "lines", dropped)
	}
	if cap(lines) > 4*flushAt { // of a bad moment; do not keep it
		lines = nil
	}
	a.mu.Lock()
	a.spare = lines[:0]
	a.mu.Unlock()
}

// renew opens the file again; if that fails, the old one goes on.
func (a *AccessLog) renew() {
	if a.path == "" {
		return
	}
	old := a.file
	if err := a.open(); err != nil {
		a.log.Error("access log not reopened, the old file goes on", "path", a.path, "error", err)
		return
	}
	_ = old.Close()
}

func (a *AccessLog) open() error {
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	a.file, a.out = f, f
	return nil
}

func (a *AccessLog) close() {
	if a.file != nil {
		_ = a.file.Close()
	}
}
