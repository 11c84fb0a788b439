// Package pump moves what an instance writes from a FIFO into a segment file.
//
// It moves by splice(2): what has left the FIFO is in the file, so a pump that is
// killed at any moment loses nothing and repeats nothing. Beside the segment it
// keeps an index, 16 bytes a batch, that says when what arrived.
package pump

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	// batch is the most that one splice moves.
	batch = 1 << 20
	// entry is the size of an index entry: big endian, nanoseconds of Unix time and
	// the offset of the batch's first byte in the stream, 8 bytes each.
	entry = 16
)

// Pump moves one stream.
type Pump struct {
	log      hclog.Logger
	poller   *Poller
	files    Files
	fifo     int           // O_RDONLY|O_NONBLOCK, and nowhere but in poller: see there
	ready    chan struct{} // one slot: the poller has seen output, or the end
	segment  *os.File
	start    int64 // of segment, in the stream
	end      int64 // of the stream, as far as it was moved
	index    *os.File
	entries  int64 // bytes of index
	finish   chan struct{}
	finished sync.Once
	leaving  atomic.Bool   // what is not moved by finish is another's
	again    chan struct{} // one slot: what could not be written is tried again now
	plain    bool          // the file system of segment has no splice
	left     []byte        // then: read, and not written yet
	moved    func(end int64)
	rolled   func()
	full     func() string
	changed  func(State)
	maxSize  atomic.Int64 // of a segment; 0 is any
	block    atomic.Bool  // what cannot be written waits
	pass     atomic.Bool  // the next segment is begun though there is no room
	granted  bool         // the segment may be filled
	stuck    bool         // the last roll failed
	pipe     int          // bytes that the FIFO has room for
	broken   bool         // something was dropped behind the segment's end
	gap      int64        // bytes of that which no file's name tells of yet
	torn     bool         // what was dropped last was not the end of a line
	untold   bool         // no state was told of a stream that an earlier pump had moved
	dropped  State        // how much, so far
	told     State
}

// Open opens the stream's FIFO, which must have a writer already or it would look
// ended. The caller must Create its files and Run the pump, or Close it.
func Open(poller *Poller, fifo string, f Files, log hclog.Logger) (*Pump, error) {
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: fifo, Err: err}
	}
	p := &Pump{
		log: log, poller: poller, files: f, fifo: fd, pipe: enlarge(fd),
		ready: make(chan struct{}, 1), finish: make(chan struct{}), again: make(chan struct{}, 1),
	}
	if err := poller.add(fd, p.ready); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Create opens the files of the stream's first segment, and makes them where they
// are missing. It is a
// step of its own because on a slow disk it takes as long as a program to start,
// and can be done meanwhile.
func (p *Pump) Create() error { return p.begin(0) }

// Resume is Create for a stream that an earlier pump has moved: it goes on where
// that one was killed.
func (p *Pump) Resume() error {
	start, err := p.files.Holding(math.MaxInt64)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := p.begin(start); err != nil {
		return err
	}
	// That one may have been killed while it dropped a line.
	p.torn = p.end == start && start > p.files.endBefore(start)
	p.broken, p.untold = p.torn, true
	return nil
}

// begin makes the segment at start the one that is written to.
func (p *Pump) begin(start int64) error {
	segment, size, err := p.files.open(p.files.Segment(start))
	if err != nil {
		return err
	}
	index, entries, err := p.files.open(p.files.Segment(start) + IndexSuffix)
	if err != nil {
		_ = segment.Close()
		return err
	}
	p.closeFiles()
	p.segment, p.start, p.end, p.granted = segment, start, start+size, size > 0
	p.index, p.entries = index, entries
	if size > 0 || entries > 0 {
		p.resumeIndex()
	}
	return nil
}

// resumeIndex goes on with the index of an earlier pump. It is not worth a stream.
func (p *Pump) resumeIndex() {
	entries, err := mend(p.index, p.entries, p.start, p.segment)
	if err != nil {
		p.log.Warn("cannot mend an index, times of old output may be wrong", "index", p.index.Name(), "error", err)
		entries = p.entries - p.entries%entry
	}
	p.entries = entries
}

// OnMove has f called after each move, with the stream's end. It
// must not block, and is set before Run.
func (p *Pump) OnMove(f func(end int64)) { p.moved = f }

// Stream is stdout or stderr.
func (p *Pump) Stream() string { return p.files.Stream }

// End is how many bytes of the stream were moved, by earlier pumps too. It is for
// before Run.
func (p *Pump) End() int64 { return p.end }

// Close ends the use of a pump that does not run.
func (p *Pump) Close() {
	p.poller.remove(p.fifo)
	_ = unix.Close(p.fifo)
	p.closeFiles()
}

func (p *Pump) closeFiles() {
	for _, f := range []*os.File{p.segment, p.index} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Finish tells that nobody is left to write. Run then moves what is still in the
// FIFO, beyond all limits, and returns; what no disk takes is dropped.
func (p *Pump) Finish() { p.finished.Do(func() { close(p.finish) }) }

// Leave has Run move what can be moved at once, and return: the rest stays in the
// FIFO, for the next keeper.
func (p *Pump) Leave() {
	p.leaving.Store(true)
	p.Finish()
}

// Run moves until the stream has ended: until no process has it open any more, or
// until Finish or Leave. It closes the pump.
func (p *Pump) Run() {
	defer p.Close()
	var pace pace
	waited := true
	for {
		n, err := p.move()
		switch {
		case errors.Is(err, unix.EAGAIN):
			p.tell("", false)
			if isClosed(p.finish) {
				return
			}
			if err := p.wait(); err != nil {
				p.log.Error("output is lost", "segment", p.segment.Name(), "error", err)
				return
			}
			waited = true
		case err != nil:
			if !p.outlast(err) {
				return
			}
		case n == 0:
			p.tell("", false)
			return
		default:
			p.tell("", false)
			p.pause(pace.after(n, waited))
			waited = false
		}
	}
}

// wait waits for output, or for the end.
func (p *Pump) wait() error {
	if err := p.poller.arm(p.fifo); err != nil {
		return err
	}
	select {
	case <-p.ready:
	case <-p.finish:
	}
	return nil
}

// move moves what is there now, and notes it in the index: EAGAIN where there is
// nothing, 0 at the end.
func (p *Pump) move() (int, error) {
	for {
		if err := p.prepare(); err != nil {
			return 0, err
		}
		at := p.end
		n, err := p.splice()
		if n > 0 {
			p.end += n
			p.note(at)
			if p.moved != nil {
				p.moved(p.end)
			}
			return int(n), nil
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EINVAL) && !p.plain:
			p.plain = true
		default:
			return 0, err
		}
	}
}

// prepare sees to it that there is a segment to write to.
func (p *Pump) prepare() error {
	if p.broken {
		return p.mend()
	}
	return p.roll()
}

func (p *Pump) splice() (int64, error) {
	if p.plain {
		return p.copy()
	}
	at := p.end - p.start
	return unix.Splice(p.fifo, nil, int(p.segment.Fd()), &at, p.room(), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
}

// copy is for file systems that cannot splice. Killed between its two steps it
// loses a buffer.
func (p *Pump) copy() (int64, error) {
	if len(p.left) == 0 {
		buf := make([]byte, min(p.room(), 64<<10))
		n, err := unix.Read(p.fifo, buf)
		if n <= 0 {
			return 0, err
		}
		p.left = buf[:n]
	}
	n, err := p.segment.WriteAt(p.left, p.end-p.start)
	p.left = p.left[n:]
	if n > 0 {
		err = nil // it comes again with the rest
	}
	return int64(n), err
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// note adds the batch that begins at offset to the index. A batch that cannot be
// noted counts as part of the one before.
func (p *Pump) note(offset int64) {
	if err := putEntry(p.index, p.entries, time.Now().UnixNano(), offset); err == nil {
		p.entries += entry
	}
}

// pause waits so that more comes together, unless the stream ends.
func (p *Pump) pause(d time.Duration) {
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.finish:
	case <-t.C:
	}
}

// enlarge gives a pipe the most room that it may have. Beyond their soft limit,
// users other than root get pipes of two pages, so theirs are asked for less. It
// returns how much that is.
func enlarge(fd int) int {
	size := 1 << 20
	if os.Geteuid() != 0 {
		size = 256 << 10
	}
	if got, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, size); err == nil {
		return got
	}
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		got = os.Getpagesize()
	}
	return got
}
