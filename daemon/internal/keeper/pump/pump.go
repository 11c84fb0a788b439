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
	"syscall"
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
	files    Files
	fifo     *os.File // O_RDONLY|O_NONBLOCK, in Go's poller: waiting costs no thread
	raw      syscall.RawConn
	segment  *os.File
	size     int64 // of segment
	index    *os.File
	entries  int64 // bytes of index
	finish   chan struct{}
	finished sync.Once
	plain    bool // the file system of segment has no splice
}

// Open opens the stream's FIFO, which must have a writer already or it would look
// ended. The caller must Create its files and Run the pump, or Close it.
func Open(fifo string, f Files, log hclog.Logger) (*Pump, error) {
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: fifo, Err: err}
	}
	enlarge(fd)
	p := &Pump{log: log, files: f, fifo: os.NewFile(uintptr(fd), fifo), finish: make(chan struct{})}
	if p.raw, err = p.fifo.SyscallConn(); err != nil {
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
	if p.segment, p.size, err = f.open(f.segment()); err != nil {
		return err
	}
	if p.index, p.entries, err = f.open(f.segment() + ".idx"); err != nil {
		return err
	}
	p.entries -= p.entries % entry // a last one that was cut off
	return nil
}

// Close ends the use of a pump that does not run.
func (p *Pump) Close() {
	for _, f := range []*os.File{p.fifo, p.segment, p.index} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Finish tells that nobody is left to write. Run then moves what is still in the
// FIFO and returns.
func (p *Pump) Finish() {
	p.finished.Do(func() {
		close(p.finish)
		_ = p.fifo.SetReadDeadline(time.Unix(1, 0))
	})
}

// Run moves until the stream has ended: until no process has it open any more, or
// until Finish. It closes the pump.
func (p *Pump) Run() {
	defer p.Close()
	var pace pace
	for {
		n, waited, err := p.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.drain()
			return
		case err != nil:
			if !p.stall(err) {
				return
			}
		case n == 0:
			return
		default:
			p.pause(pace.after(n, waited))
		}
	}
}

// next waits for output and moves it. waited tells that there was none at first;
// 0 bytes are the end.
func (p *Pump) next() (n int, waited bool, err error) {
	var move error
	err = p.raw.Read(func(fd uintptr) bool {
		n, move = p.move(int(fd))
		if errors.Is(move, unix.EAGAIN) {
			waited = true
			return false
		}
		return true
	})
	if err == nil {
		err = move
	}
	return n, waited, err
}

// move moves what is there now, and notes it in the index.
func (p *Pump) move(fd int) (int, error) {
	for {
		at := p.size
		n, err := p.splice(fd)
		if n > 0 {
			p.size += n
			p.note(at)
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

func (p *Pump) splice(fd int) (int64, error) {
	if p.plain {
		return p.copy(fd)
	}
	at := p.size
	return unix.Splice(fd, nil, int(p.segment.Fd()), &at, batch, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
}

// copy is for file systems that cannot splice. Killed between its two steps it
// loses a buffer.
func (p *Pump) copy(fd int) (int64, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Read(fd, buf)
	if n <= 0 {
		return 0, err
	}
	for done := 0; done < n; {
		m, err := p.segment.WriteAt(buf[done:n], p.size+int64(done))
		done += m
		if err != nil && (isClosed(p.finish) || !p.stall(err)) {
			return int64(done), nil
		}
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

// drain moves what is left in the FIFO.
func (p *Pump) drain() {
	_ = p.raw.Control(func(fd uintptr) {
		for range stallsAtEnd {
			n, err := p.move(int(fd))
			for n > 0 {
				n, err = p.move(int(fd))
			}
			if err == nil || errors.Is(err, unix.EAGAIN) || !p.stall(err) {
				return
			}
		}
		p.log.Warn("gave up output of an ended instance", "segment", p.segment.Name())
	})
}

const (
	// stallWait is how long a write that failed waits for its next try: by timer,
	// as poll would report the FIFO readable all the time.
	stallWait = 250 * time.Millisecond
	// stallsAtEnd is how often an ended instance's output is tried.
	stallsAtEnd = 4
)

// stall waits before a failed write is tried again; false where that is no use.
// The output stays in the FIFO meanwhile, and the app waits when it is full.
func (p *Pump) stall(err error) bool {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADF) {
		p.log.Error("output is lost", "segment", p.segment.Name(), "error", err)
		return false
	}
	p.log.Warn("cannot write output, will try again", "segment", p.segment.Name(), "error", err)
	t := time.NewTimer(stallWait)
	defer t.Stop()
	<-t.C
	return true
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
