// Package pump moves what an instance writes from a FIFO into a segment file.
//
// It moves by splice(2): what has left the FIFO is in the file, so a pump that is
// killed at any moment loses nothing and repeats nothing. Beside the segment it
// keeps an index, 16 bytes a batch, that says when what arrived.
package pump

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
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
	size     int64 // of segment
	index    *os.File
	entries  int64 // bytes of index
	finish   chan struct{}
	finished sync.Once
	plain    bool // the file system of segment has no splice
	moved    func(end int64)
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

// Create opens the stream's files, and makes them where they are missing. It is a
// step of its own because on a slow disk it takes as long as a program to start,
// and can be done meanwhile.
func (p *Pump) Create() (err error) {
	f := p.files
	if p.segment, p.size, err = f.open(f.Segment()); err != nil {
		return err
	}
	if p.index, p.entries, err = f.open(f.Segment() + ".idx"); err != nil {
		return err
	}
	p.entries -= p.entries % entry // a last one that was cut off
	return nil
}

// OnMove has f called after each move, with the size that the segment then has. It
// must not block, and is set before Run.
func (p *Pump) OnMove(f func(end int64)) { p.moved = f }

// Stream is stdout or stderr.
func (p *Pump) Stream() string { return p.files.Stream }

// Size is that of the segment, before Run.
func (p *Pump) Size() int64 { return p.size }

// Close ends the use of a pump that does not run.
func (p *Pump) Close() {
	p.poller.remove(p.fifo)
	_ = unix.Close(p.fifo)
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
			waited, stalls = false, 0
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
		at := p.size
		n, err := p.splice()
		if n > 0 {
			p.size += n
			p.note(at)
			if p.moved != nil {
				p.moved(p.size)
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
	at := p.size
	return unix.Splice(p.fifo, nil, int(p.segment.Fd()), &at, batch, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
}

// copy is for file systems that cannot splice. Killed between its two steps it
// loses a buffer.
func (p *Pump) copy() (int64, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Read(p.fifo, buf)
	if n <= 0 {
		return 0, err
	}
	for done := 0; done < n; {
		m, err := p.segment.WriteAt(buf[done:n], p.size+int64(done))
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
	p.log.Warn("cannot write output, will try again", "segment", p.segment.Name(), "error", err)
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
