// Package stdoutfile copies what an instance writes, both streams in the order in
// which the pumps moved them, to files of the app's user.
//
// It copies from the segments, which hold every byte already, so nothing that goes
// wrong with a copy holds up an app or its log: a disk that is full, or a folder
// that the user may not write to.
package stdoutfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
)

const (
	// chunk is the most that is copied in one step.
	chunk = 64 << 10
	// manyPieces is how many moves of both streams by turns are remembered in their
	// order, should the copy be far behind.
	manyPieces = 16 << 10
	// stallWait is how long a write that failed waits for its next try.
	stallWait = time.Second
	// endWait is that of an ended instance, which is given up after stallsAtEnd tries.
	endWait, stallsAtEnd = 100 * time.Millisecond, 4
)

// Copy is the copy of one instance's output.
type Copy struct {
	log     hclog.Logger
	fail    func(error)
	out     *output
	journal *journal
	sources [2]*source
	buf     []byte
	failed  bool
	stalls  int

	wake     chan struct{} // one slot
	finish   chan struct{}
	finished sync.Once
	done     chan struct{}

	mu    sync.Mutex
	queue []piece
	deaf  bool // nothing will be copied any more
}

// source is a stream's segments.
type source struct {
	files pump.Files
	file  *os.File // the segment that begins at start
	start int64
	pos   int64
}

// open opens the segment that holds pos.
func (s *source) open() error {
	start, err := s.files.Holding(s.pos)
	if err != nil {
		return err
	}
	f, err := os.Open(s.files.Segment(start))
	if err != nil {
		return err
	}
	s.close()
	s.file, s.start = f, start
	return nil
}

func (s *source) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// read reads at pos, from the next segment where one ends there.
func (s *source) read(b []byte) (n int, err error) {
	if s.file == nil {
		err = s.open()
	}
	if err == nil {
		n, err = s.file.ReadAt(b, s.pos-s.start)
	}
	if n == 0 && errors.Is(err, io.EOF) {
		if err = s.open(); err == nil {
			n, err = s.file.ReadAt(b, s.pos-s.start)
		}
	}
	return n, err
}

// piece says that a stream was moved up to an offset.
type piece struct {
	stream int
	end    int64
}

// New returns the copy of two streams, stdout and stderr. Run it. fail is told of
// the first thing that goes wrong, and of no other.
func New(f Files, streams [2]pump.Files, fail func(error), log hclog.Logger) *Copy {
	return &Copy{
		log: log, fail: fail, out: &output{files: f}, journal: &journal{path: f.Journal}, buf: make([]byte, chunk),
		sources: [2]*source{{files: streams[0]}, {files: streams[1]}},
		wake:    make(chan struct{}, 1), finish: make(chan struct{}), done: make(chan struct{}),
	}
}

// Moved tells that a stream's segment (0 stdout, 1 stderr) has grown to end. It
// never blocks.
func (c *Copy) Moved(stream int, end int64) {
	c.mu.Lock()
	if !c.deaf {
		c.queue = enqueue(c.queue, piece{stream, end})
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// enqueue adds p. Of a queue that is too long the order suffers, never the bytes.
func enqueue(queue []piece, p piece) []piece {
	for i := len(queue) - 1; i >= 0; i-- {
		if queue[i].stream == p.stream {
			queue[i].end = p.end
			return queue
		}
		if len(queue) < manyPieces {
			break
		}
	}
	return append(queue, p)
}

func (c *Copy) next() (piece, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return piece{}, false
	}
	p := c.queue[0]
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return p, true
}

// Finish tells that no more is moved. Run then copies what is left and returns.
func (c *Copy) Finish() { c.finished.Do(func() { close(c.finish) }) }

// Done is closed when Run has returned.
func (c *Copy) Done() <-chan struct{} { return c.done }

// Run copies until Finish. When ctx ends, what goes wrong is not tried again.
func (c *Copy) Run(ctx context.Context) {
	defer close(c.done)
	defer c.close()
	if err := c.begin(); err != nil {
		c.told(err)
		return
	}
	for {
		last := isClosed(c.finish) // asked first: what was moved before it is in the queue
		p, ok := c.next()
		switch {
		case ok:
			if !c.copy(ctx, p) {
				return
			}
		case last:
			return
		default:
			select {
			case <-c.wake:
			case <-c.finish:
			}
		}
	}
}

// begin opens the first file.
func (c *Copy) begin() error {
	if c.out.files.Resume {
		return c.takeUp()
	}
	// At once, and though nothing is written yet: each start has its file.
	if err := c.out.roll(); err != nil {
		return err
	}
	if info, err := c.out.file.Stat(); err == nil {
		c.note(0, 0, info)
	}
	return nil
}

// note writes down that length bytes of a stream are about to be written.
func (c *Copy) note(stream, length int, info fs.FileInfo) {
	m := mark{N: int64(c.out.n - 1), Size: info.Size(), Stream: int64(stream), Length: int64(length)}
	m.Dev, m.Ino = identify(info)
	m.Pos = [2]int64{c.sources[0].pos, c.sources[1].pos}
	c.journal.note(m)
}

func (c *Copy) close() {
	c.mu.Lock()
	c.deaf, c.queue = true, nil
	c.mu.Unlock()
	c.out.close()
	c.journal.close()
	for _, s := range c.sources {
		s.close()
	}
}

// copy copies a stream up to a piece's end. It is false where that was given up.
func (c *Copy) copy(ctx context.Context, p piece) bool {
	s := c.sources[p.stream]
	for s.pos < p.end {
		n, err := c.step(p)
		s.pos += int64(n)
		if err == nil {
			c.stalls = 0
			continue
		}
		c.told(err)
		if !c.stall(ctx) {
			c.log.Error("the copy of an instance's output ends before its output does", "file", c.out.path, "error", err)
			return false
		}
	}
	return true
}

// step copies some bytes, and tells how many.
func (c *Copy) step(p piece) (int, error) {
	s, end := c.sources[p.stream], p.end
	n, err := s.read(c.buf[:min(chunk, end-s.pos)])
	switch {
	case n > 0:
	case errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist):
		// It was deleted, or cut, before it was copied, or could not be written, and will
		// not come again.
		if next, ok := s.files.Next(s.pos); ok {
			end = min(end, next)
		}
		c.told(fmt.Errorf("%d bytes of %s were gone before they were copied", end-s.pos, s.files.Stream))
		return int(end - s.pos), nil
	default:
		return 0, err
	}
	fit, info, err := c.out.room(c.buf[:n])
	if fit == 0 || err != nil {
		return 0, err
	}
	c.note(p.stream, fit, info)
	return c.out.write(c.buf[:fit])
}

// told tells of the first thing that went wrong.
func (c *Copy) told(err error) {
	if !c.failed {
		c.failed = true
		c.fail(err)
	}
}

// stall waits before the next try. It is false where there is none.
func (c *Copy) stall(ctx context.Context) bool {
	c.stalls++
	finish, wait := c.finish, stallWait
	if isClosed(finish) {
		if c.stalls > stallsAtEnd {
			return false
		}
		finish, wait = nil, endWait
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-finish:
		c.stalls = 0
	case <-ctx.Done():
		return false
	}
	return true
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
