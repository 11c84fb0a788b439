package pump

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"
)

// longestLine is how much of a line is dropped after its beginning.
const longestLine = 16 << 10

// shed drops the oldest of what waits before the FIFO is full: a quarter of it may
// be all there is room for, where each write takes little of a page. before is how
// much had waited at the last look; it returns how much waits, and how much came.
func (p *Pump) shed(before int) (waiting, came int) {
	waiting = p.waiting()
	came = waiting - before
	if waiting > p.pipe/4 {
		p.discard(waiting - p.pipe/8)
		waiting = p.pipe / 8
	}
	return waiting, came
}

// discard drops the n oldest bytes. They are missing on disk before they are out of
// the FIFO: a pump that is killed between the two tells of too many, never of too
// few.
func (p *Pump) discard(n int) {
	if n <= 0 {
		return
	}
	p.broken = true
	p.gap += int64(n)
	_ = p.settle() // where no file can be made, it is tried again with the next
	for n > 0 {
		got := p.drop(n)
		if got <= 0 {
			return
		}
		n -= got
	}
}

// drop takes at most n bytes from what waits, and counts them: 0 at the end, -1
// where there are none.
func (p *Pump) drop(n int) int {
	const most = 64 << 10
	b := p.left
	if len(b) > 0 {
		b = b[:min(n, len(b))]
		p.left = p.left[len(b):]
	} else {
		b = make([]byte, min(n, most))
		got, err := unix.Read(p.fifo, b)
		for errors.Is(err, unix.EINTR) {
			got, err = unix.Read(p.fifo, b)
		}
		if got <= 0 {
			return got
		}
		b = b[:got]
	}
	p.dropped.Bytes += int64(len(b))
	p.dropped.Lines += int64(bytes.Count(b, []byte{'\n'}))
	p.torn = b[len(b)-1] != '\n'
	return len(b)
}

// mend makes ready to write behind what was dropped: from the beginning of a line
// on, in a segment that begins there, and only where all that waits has room.
func (p *Pump) mend() error {
	for n := 0; p.torn && n < longestLine; n++ {
		switch p.drop(1) {
		case 1:
			p.gap++
		case 0:
			p.torn = false
		default: // the rest of the line is to come, and may not before the next keeper
			_ = p.settle()
			return unix.EAGAIN
		}
	}
	if err := p.settle(); err != nil {
		return err
	}
	if err := reserve(p.segment.Fd(), p.waiting()); err != nil {
		return err
	}
	p.broken, p.torn = false, false
	return nil
}

// settle has the stream go on in a segment behind what was dropped.
func (p *Pump) settle() error {
	if p.gap == 0 {
		return nil
	}
	to := p.end + p.gap
	if p.end > p.start {
		if err := p.begin(to); err != nil {
			p.files.remove(to)
			return err
		}
		if p.rolled != nil {
			p.rolled()
		}
	} else if err := p.files.rename(p.start, to); err != nil {
		return err
	}
	p.start, p.end, p.gap, p.granted = to, to, 0, true
	return nil
}

// reserve has the disk keep room for n bytes, where it can.
func reserve(fd uintptr, n int) error {
	if n == 0 {
		return nil
	}
	err := unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, 0, int64(n))
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EIO) {
		return err
	}
	return nil
}
