package forward

import (
	"errors"

	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/http1"
)

// maxAttempts bounds how often a request is tried altogether.
const maxAttempts = 6

// forward sends the request to an instance and its answer back, trying others
// as long as that is safe.
func (x *exchange) forward() {
	for x.acquire() {
		if !x.connect() {
			continue
		}
		if x.send() && x.await() {
			return
		}
	}
}

// acquire claims an instance. If there is none it waits for one. It reports
// false when the request was answered.
func (x *exchange) acquire() bool {
	if len(x.c.pairs) > 0 && x.rejoin() {
		return true
	}
	if x.orphaned && !x.startsOver() {
		return false
	}
	for waits := 0; ; waits++ {
		switch {
		case x.attempts == maxAttempts:
			x.lost("every attempt failed")
			return false
		case x.claim():
			x.attempts++
			return true
		case len(x.failed) > 0 && x.backs > 0, waits == 3:
			x.lost("no instance can be reached")
			return false
		case !x.hold():
			return false
		}
	}
}

// lost answers 502 with the reason that is known best.
func (x *exchange) lost(reason string) {
	if x.rec.Reason != "" {
		reason = x.rec.Reason
	}
	x.fail(&failure{code: codeBackendLost, reason: reason})
}

// claim prefers an instance that was not tried. One that closed an idle
// connection may be tried again: that says nothing about it.
func (x *exchange) claim() bool {
	found := x.take(x.stale)
	if !found && len(x.stale) > 0 {
		found = x.take(x.failed) || x.again && x.take(nil)
	}
	x.again = x.again && !found
	return found
}

func (x *exchange) take(avoid []string) bool {
	x.lease, x.held = x.app.Acquire(avoid)
	if x.held {
		x.noteInstance()
	}
	return x.held
}

func (x *exchange) noteInstance() {
	e := x.lease.Endpoint()
	x.rec.Instance, x.rec.Generation = e.Instance, e.Generation
}

// hold waits for an instance. It reports false when the request was answered.
func (x *exchange) hold() bool {
	c := x.c
	if len(x.failed) > 0 {
		x.backs++
	}
	began := c.srv.now()
	c.wait(phaseHold)
	ctx, done := c.holding()
	err := c.srv.cfg.Waiter.Wait(ctx, x.app, x.failed)
	done()
	x.rec.Wait += c.srv.now() - began
	if err == nil {
		x.again = true
		return true
	}
	if f, ok := errors.AsType[*activator.Failure](err); ok {
		if f.Code == codeOffline {
			x.fail(outOfService(x.app.Offline()))
			return false
		}
		x.fail(failed(f))
	} else if !x.broken() {
		x.lost(err.Error())
	}
	return false
}

// tried gives the instance up for this attempt. dead says that the instance
// itself is at fault, not only an old connection to it.
func (x *exchange) tried(dead bool, err error) {
	id := x.lease.Endpoint().Instance
	x.stale = append(x.stale, id)
	if dead {
		x.failed = append(x.failed, id)
		x.blame(err)
	}
	x.fresh = true
	x.rec.Reason = err.Error()
	x.letGo(false)
}

// blame has the daemon told that the instance failed the request.
func (x *exchange) blame(err error) {
	if failed := x.c.srv.cfg.Failed; failed != nil {
		failed(x.app.Name(), x.lease.Endpoint().Instance, err)
	}
}

// repeatable reports whether the request may be sent twice.
func (x *exchange) repeatable() bool {
	return x.req.Method.Idempotent() && !x.req.HasBody()
}

// connect gets a connection to the claimed instance.
func (x *exchange) connect() bool {
	bc := x.bc
	if bc == nil {
		bc = x.lease.Idle()
	}
	if bc != nil && x.fresh {
		bc.Close()
		bc = nil
	}
	if bc == nil {
		x.c.wait(phaseHold)
		var err error
		if bc, err = x.lease.Dial(); err != nil {
			x.tried(true, err)
			return false
		}
	}
	bc.Private = bc.Private || x.req.ConnectionAuth
	x.bc, x.peer = bc, peerOf(bc)
	x.peer.write.stalled = x.c.appStalled
	x.c.attach(x.peer)
	return true
}

func peerOf(bc *backend.Conn) *sock {
	if s, ok := bc.Data.(*sock); ok {
		return s
	}
	s := new(sock)
	s.init(bc.Conn)
	bc.Data = s
	return s
}

// send sends the head with the body bytes that are there, and starts the
// upload of the rest; if there is none it waits for the answer's first bytes.
// It reports false if another attempt is due.
func (x *exchange) send() bool {
	c := x.c
	x.out = x.appendRequest(x.out[:0])
	x.out, x.tail = frame(x.out, x.tail[:0], x.first, &x.up, x.up.Kind == http1.ByChunks)
	x.sentAt = c.srv.now()
	c.slot.word.Store(word(phaseApp, x.sentAt.Milliseconds()))
	n, err := x.peer.ask(&x.bb, x.bc.Reused, x.up.Done(), x.out, x.first, x.tail)
	if err != nil {
		if n == 0 && c.interrupted() == causeNone {
			// Not a byte left this process: safe with any method.
			if x.paired {
				x.part()
			} else {
				x.tried(!x.bc.Reused, err)
			}
			return false
		}
		return true // the app may have answered before it closed
	}
	if !x.up.Done() {
		x.startUpload()
	}
	return true
}

// await reads the answer and delivers it. It reports false if another attempt
// is due.
func (x *exchange) await() bool {
	x.resp.Reset()
	for {
		n, err := x.resp.Parse(x.bb.unread())
		if err != nil {
			if !x.broken() {
				x.blame(err)
				x.fail(&failure{code: codeBackendLost, reason: "bad answer: " + err.Error()})
			}
			return true
		}
		if n == 0 {
			if done, again := x.readMore(); done {
				return !again
			}
			continue
		}
		x.bb.r += n
		switch s := x.resp.Status; {
		case s == 101:
			x.switchProtocols()
			return true
		case s < 200:
			if !x.passInterim() {
				return true
			}
			x.resp.Reset()
			x.bb.compact(0)
		default:
			x.deliver()
			return true
		}
	}
}

// readMore reads more of the answer's head. done says that this attempt is
// over, again that another is due.
func (x *exchange) readMore() (done, again bool) {
	if x.bb != nil && x.bb.full() && !enlarge(&x.bb) {
		x.blame(http1.ErrHeadTooLarge)
		x.fail(&failure{code: codeBackendLost, reason: "bad answer: " + http1.ErrHeadTooLarge.Error()})
		return true, false
	}
	err := x.peer.fill(&x.bb, false)
	switch {
	case err == nil:
		return false, false
	case x.broken():
		return true, false
	case len(x.bb.unread()) == 0 && x.mayRepeat():
		x.tried(!x.bc.Reused, err)
		return true, true
	case len(x.bb.unread()) == 0 && x.req.ConnectionAuth && x.bc.Reused && x.repeatable():
		x.hangUp(err.Error())
		return true, false
	}
	x.blame(err)
	x.fail(&failure{code: codeBackendLost, reason: "the app closed the connection before it answered: " + err.Error()})
	return true, false
}

// mayRepeat reports whether a request whose connection the app closed without
// a byte of an answer may be sent again: the app may have acted on it. A step of
// a handshake means something on its connection only.
func (x *exchange) mayRepeat() bool {
	return x.repeatable() && !x.req.ConnectionAuth && !x.answering && (x.bc.Reused || len(x.failed) == 0)
}

// passInterim forwards a 1xx answer; clients of HTTP/1.0 do not know any.
func (x *exchange) passInterim() bool {
	if x.req.Minor == 0 {
		return true
	}
	x.out = http1.AppendStatus(x.out[:0], x.resp.Status, x.resp.Reason)
	x.out = x.resp.AppendExcept(x.out, dropInterim)
	x.out = append(x.out, http1.CRLF...)
	if _, err := x.c.sock.send(x.out, nil, nil); err != nil {
		if !x.broken() {
			x.gone()
		}
		return false
	}
	x.c.wait(phaseApp)
	return true
}
