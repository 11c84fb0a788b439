package forward

import (
	"errors"
	"io"

	"github.com/roostd/roost/proxy/internal/http1"
)

// deliver sends the answer to the client: the head with the bytes that came
// with it in one write, then each piece as it comes.
func (x *exchange) deliver() {
	c := x.c
	x.rec.Status, x.rec.Reason = x.resp.Status, ""
	x.decidePair()
	x.down.ResponseBody(&x.resp, x.req.Method)
	chunked := x.req.Minor == 1 && (x.down.Kind == http1.ByChunks || x.down.Kind == http1.UntilClose)
	x.keep = x.keep && !c.srv.draining.Load()
	// The end of the connection is the end of the body then.
	untilClose := x.req.Minor == 0 && (x.down.Kind == http1.ByChunks || x.down.Kind == http1.UntilClose)
	if untilClose {
		x.keep = false
		c.sock.brittle(true)
	}
	if !x.taken() {
		x.keep = x.keep && x.handshakes()
	}
	// What the client has sent meanwhile must not turn the close into RST.
	x.lingers = !x.keep && x.req.KeepAlive()
	x.out = x.appendResponse(x.out[:0], chunked)
	for {
		data, ok := x.nextDown()
		if !ok || !x.sendDown(data, chunked) {
			return
		}
		if x.down.Done() {
			break
		}
		if !x.moreDown(chunked) {
			return
		}
	}
	x.doneAt = c.srv.now()
	if untilClose {
		c.sock.brittle(false)
	}
	if x.keep && !x.uploaded() && x.handshakes() {
		x.finishUpload()
	}
	reusable := x.resp.KeepAlive() && x.down.Kind != http1.UntilClose && len(x.bb.unread()) == 0
	x.letGo(reusable)
}

// nextDown takes body bytes out of what was read.
func (x *exchange) nextDown() ([]byte, bool) {
	if x.down.Done() {
		return nil, true
	}
	data, used, err := x.down.Feed(x.bb.unread())
	if err != nil {
		x.lostAfterHead("bad answer: " + err.Error())
		return nil, false
	}
	if x.bb != nil {
		x.bb.r += used
	}
	return data, true
}

// sendDown writes what is in x.out, data and what follows it.
func (x *exchange) sendDown(data []byte, chunked bool) bool {
	x.out, x.tail = frame(x.out, x.tail[:0], data, &x.down, chunked)
	if len(x.out)+len(data)+len(x.tail) == 0 {
		return true
	}
	x.answering = true
	_, err := x.c.sock.send(x.out, data, x.tail)
	if err != nil {
		if !x.broken() {
			x.gone()
		}
		return false
	}
	x.rec.BytesOut += int64(len(data))
	x.out = x.out[:0]
	return true
}

// moreDown reads more of the body, or moves the rest of it within the kernel.
func (x *exchange) moreDown(chunked bool) bool {
	c := x.c
	if spliceable(&x.down, x.peer, &c.sock) {
		if p, ok := getPipe(); ok {
			return x.spliceDown(p)
		}
	}
	if chunked {
		x.save() // a stream may last
	}
	large := x.bb != nil && x.bb.full()
	release(&x.bb)
	if x.bb != nil {
		x.bb.compact(0)
	}
	c.wait(phaseStream)
	err := x.peer.fill(&x.bb, large)
	if err == nil || errors.Is(err, io.EOF) && x.down.EOF() == nil {
		return true
	}
	if !x.broken() {
		x.lostAfterHead("the app closed the connection in its answer: " + err.Error())
	}
	return false
}

func (x *exchange) spliceDown(p pipe) bool {
	c := x.c
	x.save()
	discard(&x.bb)
	c.wait(phaseStream)
	side, err := splice(p, &c.sock, x.peer, &x.down, func(int) {}, func(n int) {
		x.rec.BytesOut += int64(n)
		c.wait(phaseStream)
	})
	switch {
	case err == nil:
		return true
	case x.broken():
	case side == toDst:
		x.gone()
	default:
		x.lostAfterHead("the app closed the connection in its answer: " + err.Error())
	}
	return false
}

// lostAfterHead cuts the client: what it got must not look complete.
func (x *exchange) lostAfterHead(reason string) {
	x.fail(&failure{code: codeBackendLost, reason: reason})
}
