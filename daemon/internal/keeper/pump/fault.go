package pump

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// What cannot be written stays in the FIFO as long as that has room, so a fault that
// passes soon costs nothing. Then it waits, and the app with it, or the oldest of it
// is dropped before the app has to wait. What was dropped counts in the offsets of
// the stream all the same: the next segment begins behind it, and is there, empty,
// from the first drop on. So its name tells how much is missing, to readers as well
// as to the next keeper, and takes no room on a disk that has none.

// State is what is not as it should be with a stream.
type State struct {
	Fault string // why its output cannot be written now; "" where it can
	Waits bool   // it waits for that to pass; else it is dropped when the FIFO is full
	Bytes int64  // dropped so far
	Lines int64  // the line ends among them
}

// OnState has f called when the state changes, once anyhow after Resume, while output is dropped not more
// often than every second. It must not block, and is set before Run.
func (p *Pump) OnState(f func(State)) { p.changed = f }

const (
	// retryMin and retryMax are how long what could not be written waits for its next
	// try: by timer, as poll would report the FIFO readable all the time.
	retryMin, retryMax = 250 * time.Millisecond, 2 * time.Second
	// retryFull is how often it is asked whether a segment may be begun.
	retryFull = time.Second
	// triesAtEnd is how often an ended instance's output is tried.
	triesAtEnd = 4
	// shedMax is the longest time between two looks at how full the FIFO is.
	shedMax = 50 * time.Millisecond
	// stateEvery is how often it is told how much was dropped.
	stateEvery = time.Second
)

// outlast stays until what could not be written is. It is false where the stream
// has ended meanwhile.
func (p *Pump) outlast(err error) bool {
	defer func() { p.tell("", false) }()
	retry, ended := retryMin, 0
	for {
		_, full := errors.AsType[*fullError](err)
		waits := full || p.block.Load()
		p.fail(err, waits)
		if full {
			retry = retryFull
		}
		switch {
		case p.leaving.Load():
			p.discard(len(p.left)) // nobody else has it
			return false
		case isClosed(p.finish):
			if ended++; ended > triesAtEnd {
				p.discard(p.waiting())
				return false
			}
			retry = retryMin
		}
		p.bide(retry, waits)
		if !waits && p.broken {
			retry = min(2*retry, retryMax)
		}
		n, again := p.move()
		switch {
		case again == nil:
			return n > 0
		case !errors.Is(again, unix.EAGAIN):
			err = again
		case isClosed(p.finish):
			return false
		case p.wait() != nil: // and Run says so
			return true
		}
	}
}

// fail notes a fault, and logs it once, or a full disk would fill another with that.
func (p *Pump) fail(err error, waits bool) {
	level := hclog.Debug
	if p.told.Fault == "" {
		level = hclog.Warn
	}
	p.log.Log(level, "cannot write output, will try again", "segment", p.segment.Name(), "error", err)
	text := err.Error()
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		text = errno.Error() // without a path, which changes
	}
	p.tell(text, waits)
}

func (p *Pump) tell(fault string, waits bool) {
	s := p.dropped
	s.Fault, s.Waits = fault, waits
	if s != p.told || p.untold {
		p.told, p.untold = s, false
		if p.changed != nil {
			p.changed(s)
		}
	}
}

// bide waits for the next try. Unless the output waits, it sees to it that the app
// does not have to.
func (p *Pump) bide(d time.Duration, waits bool) {
	finish := p.finish
	if isClosed(finish) {
		finish = nil
	}
	now := time.Now()
	next, told, look, before := now.Add(d), now, paceMin, p.waiting()
	for left := d; left > 0; left = time.Until(next) {
		if !waits {
			var came int
			if before, came = p.shed(before); came > p.pipe/16 {
				look = paceMin
			}
			left = min(left, look)
			look = min(2*look, shedMax)
		}
		if time.Since(told) >= stateEvery {
			told = time.Now()
			p.tell(p.told.Fault, p.told.Waits)
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
			continue
		case <-finish:
		case <-p.again:
		}
		t.Stop()
		return
	}
}

// waiting is how many bytes were written by the app and not moved yet.
func (p *Pump) waiting() int {
	n, err := unix.IoctlGetInt(p.fifo, unix.TIOCINQ)
	if err != nil {
		n = 0
	}
	return n + len(p.left)
}
