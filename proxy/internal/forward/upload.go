package forward

import (
	"errors"
	"sync/atomic"

	"github.com/roostd/roost/proxy/internal/http1"
)

// inlineUpload is how much of a body is sent before the answer is looked at,
// as long as the client has it ready. It fits any socket's buffer, so that an
// app that answers early and stops reading cannot block the write for long.
const inlineUpload = 64 << 10

// upload is the part of a request's body that is sent while the answer is
// being read, by a goroutine of its own: the app may answer before it has
// everything, or stream both ways.
type upload struct {
	x       *exchange
	done    chan struct{}
	stopped atomic.Bool
	// taken says that the client has sent all. It is set before the last of that goes
	// to the app, whose answer may be here before the goroutine has ended.
	taken atomic.Bool
	sent  bool // the app has all of it; valid once done is closed
}

// startUpload sends what the client has ready, and leaves the rest to a
// goroutine.
func (x *exchange) startUpload() {
	if rest := x.c.in.unread(); len(rest) > 0 {
		// The start of a trailer section.
		x.ubuf = getBuffer(len(rest) > smallBuffer/2)
		x.ubuf.w = copy(x.ubuf.b, rest)
		x.c.in.w = x.c.in.r
	}
	for sent := x.rec.BytesIn; x.rec.BytesIn-sent < inlineUpload; {
		more, err := x.uploadStep(true)
		if errors.Is(err, errWouldBlock) {
			break
		}
		if !more {
			return
		}
	}
	if !x.req.Expect100 || len(x.first) > 0 {
		x.c.upWaits(upRead)
	}
	x.peer.write.stalled = x.c.upStalled
	u := &upload{x: x, done: make(chan struct{})}
	x.upload = u
	go u.run()
}

func (u *upload) run() {
	defer close(u.done)
	defer u.x.c.upWaits(upNone)
	defer u.x.c.contain(func() { u.x.c.interrupt(causeGone) })
	for {
		if more, err := u.x.uploadStep(false); !more {
			u.sent = err == nil
			return
		}
	}
}

// uploadStep reads once and sends what it got. more is false at the end of
// the body and after any error: the exchange's own goroutine was interrupted
// then, or will see for itself that the app has closed.
func (x *exchange) uploadStep(try bool) (more bool, err error) {
	c := x.c
	if !try && len(x.ubuf.unread()) == 0 && spliceable(&x.up, &c.sock, x.peer) {
		if p, ok := getPipe(); ok {
			return x.spliceUp(p)
		}
	}
	release(&x.ubuf)
	if x.ubuf != nil {
		x.ubuf.compact(0)
		if x.ubuf.full() && !enlarge(&x.ubuf) {
			return x.uploadFailed(x.received(0, http1.ErrTrailer))
		}
	}
	if try {
		err = c.sock.tryFill(&x.ubuf, false)
	} else {
		err = c.sock.fill(&x.ubuf, false)
	}
	if errors.Is(err, errWouldBlock) {
		return true, err
	}
	if err != nil {
		return x.uploadLost(err)
	}
	data, used, err := x.up.Feed(x.ubuf.unread())
	x.ubuf.r += used
	if f := x.received(len(data), err); f != nil {
		return x.uploadFailed(f)
	}
	if !try {
		x.noteTaken()
		c.upWaits(upWrite)
	}
	if err := x.sendUp(data); err != nil {
		return false, err
	}
	if !try {
		c.upWaits(upRead)
	}
	return !x.up.Done(), nil
}

func (x *exchange) sendUp(data []byte) error {
	// Not x.out and x.tail: an answer may be under way in them.
	var size, end []byte
	if x.up.Kind == http1.ByChunks {
		x.upHead, x.upTail = frame(x.upHead[:0], x.upTail[:0], data, &x.up, true)
		size, end = x.upHead, x.upTail
	}
	_, err := x.peer.send(size, data, end)
	return err
}

func (x *exchange) spliceUp(p pipe) (more bool, err error) {
	c := x.c
	side, err := splice(p, x.peer, &c.sock, &x.up, func(n int) {
		x.rec.BytesIn += int64(n)
		x.noteTaken()
	}, func(int) { c.upWaits(upRead) })
	if err != nil && side == toSrc {
		return x.uploadLost(err)
	}
	return false, err
}

// uploadLost interrupts the exchange because the client stopped in its body.
func (x *exchange) uploadLost(err error) (bool, error) {
	if x.upload == nil || !x.upload.stopped.Load() {
		x.c.interrupt(causeGone)
	}
	return false, err
}

// uploadFailed interrupts it because the body is not acceptable.
func (x *exchange) uploadFailed(f *failure) (bool, error) {
	x.uploadBad = f
	x.c.interrupt(causeBody)
	return false, errInterrupted
}

func (x *exchange) noteTaken() {
	if x.up.Done() {
		x.upload.taken.Store(true)
	}
}

// taken reports whether the client has sent its whole request.
func (x *exchange) taken() bool {
	if x.upload != nil {
		return x.upload.taken.Load()
	}
	return x.up.Done()
}

// uploaded reports whether the whole body was sent. It can change while the
// upload's goroutine runs.
func (x *exchange) uploaded() bool {
	if x.upload != nil {
		select {
		case <-x.upload.done:
		default:
			return false
		}
	}
	return x.up.Done()
}

// stop ends the upload's goroutine, wherever it waits, and reports whether the app
// has all that it was to get.
func (u *upload) stop() (sent bool) {
	c := u.x.c
	select {
	case <-u.done:
		return u.sent
	default:
	}
	u.stopped.Store(true)
	c.sock.readDeadline(past)
	u.x.peer.writeDeadline(past)
	<-u.done
	c.restore()
	return u.sent
}
