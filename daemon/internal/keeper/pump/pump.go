// Package pump moves what an instance writes from a FIFO into a segment file.
//
// It moves by splice(2): what has left the FIFO is in the file, so a pump that is
// killed at any moment loses nothing and repeats nothing. Beside the segment it
// keeps an index, 16 bytes a batch, that says when what arrived.
package pump

import (
	"encoding/binary"
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
	plain    bool // the file system of segment has no splice
	moved    func(end int64)
	rolled   func()
	maxSize  atomic.Int64 // of a segment; 0 is any
	stuck    bool         // the last roll failed
	stalled  bool         // the last write failed
}

// Open opens the stream's FIFO, which must have a writer already or it would look
// ended. The caller must Create its files and Run the pump, or Close it.
func Open(poller *Poller, fifo string, f Files, log hclog.Logger) (*Pump, error) {
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: fifo, Err: err}
	}
	enlarge(fd)
	p := &Pump{log: log, poller: poller, files: f, fifo: fd, ready: make(chan struct{}, 1), finish: make(chan struct{})}
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
	return p.begin(start)
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
	p.segment, p.start, p.end = segment, start, start+size
	p.index, p.entries = index, entries-entries%entry // a last one may be cut off
	return nil
}

// SetMaxSize has the stream go on in a new segment once one has so many bytes; 0 is
// never. It may be called at any time.
func (p *Pump) SetMaxSize(bytes int64) { p.maxSize.Store(bytes) }

// OnRoll has f called after each new segment. It must not block, and is set before
// Run.
func (p *Pump) OnRoll(f func()) { p.rolled = f }

// roll begins a new segment where one is full. Where that fails the old one goes on
// growing: an app is not to wait for it.
func (p *Pump) roll() {
	limit := p.maxSize.Load()
	if limit <= 0 || p.end-p.start < limit {
		return
	}
	err := p.begin(p.end)
	if err != nil {
		// A part of it may be there. Nothing was written to it, and left behind it
		// would hide what the old one gets now.
		next := p.files.Segment(p.end)
		_, _ = os.Remove(next), os.Remove(next+IndexSuffix)
	}
	if err != nil && !p.stuck {
		p.log.Warn("cannot begin a new segment, the old one grows", "segment", p.segment.Name(), "error", err)
	}
	if p.stuck = err != nil; !p.stuck && p.rolled != nil {
		p.rolled()
	}
}

// room is how much goes into the segment at once.
func (p *Pump) room() int {
	if left := p.maxSize.Load() - (p.end - p.start); left > 0 {
		return int(min(left, batch))
	}
	return batch
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
// FIFO and returns.
func (p *Pump) Finish() { p.finished.Do(func() { close(p.finish) }) }

// Run moves until the stream has ended: until no process has it open any more, or
// until Finish. It closes the pump.
func (p *Pump) Run() {
	defer p.Close()
	var pace pace
	waited, stalls := true, 0
	for {
		n, err := p.move()
		switch {
		case errors.Is(err, unix.EAGAIN):
			if isClosed(p.finish) {
				return
			}
			if err := p.wait(); err != nil {
				p.log.Error("output is lost", "segment", p.segment.Name(), "error", err)
				return
			}
			waited = true
		case err != nil:
			if stalls++; isClosed(p.finish) && stalls > stallsAtEnd {
				p.log.Error("output of an ended instance is lost", "segment", p.segment.Name(), "error", err)
				return
			}
			p.stall(err)
		case n == 0:
			return
		default:
			p.pause(pace.after(n, waited))
			waited, stalls, p.stalled = false, 0, false
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
		p.roll()
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
	buf := make([]byte, min(p.room(), 64<<10))
	n, err := unix.Read(p.fifo, buf)
	if n <= 0 {
		return 0, err
	}
	for done := 0; done < n; {
		m, err := p.segment.WriteAt(buf[done:n], p.end-p.start+int64(done))
		done += m
		if err == nil {
			continue
		}
		if isClosed(p.finish) {
			return int64(done), nil
		}
		p.stall(err)
	}
	return int64(n), nil
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
	var b [entry]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixNano()))
	binary.BigEndian.PutUint64(b[8:], uint64(offset))
	if _, err := p.index.WriteAt(b[:], p.entries); err == nil {
		p.entries += entry
	}
}

const (
	// stallWait is how long a write that failed waits for its next try: by timer,
	// as poll would report the FIFO readable all the time.
	stallWait = 250 * time.Millisecond
	// stallsAtEnd is how often an ended instance's output is tried.
	stallsAtEnd = 4
)

// stall waits before a failed write is tried again. The output stays in the FIFO
// meanwhile, and the app waits when that is full.
func (p *Pump) stall(err error) {
	level := hclog.Warn
	if p.stalled { // told once, or a full disk would fill another with that
		level = hclog.Debug
	}
	p.stalled = true
	p.log.Log(level, "cannot write output, will try again", "segment", p.segment.Name(), "error", err)
	t := time.NewTimer(stallWait)
	defer t.Stop()
	<-t.C
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
// users other than root get pipes of two pages, so theirs are asked for less.
func enlarge(fd int) {
	size := 1 << 20
	if os.Geteuid() != 0 {
		size = 256 << 10
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, size)
}
