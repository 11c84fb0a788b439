package forward

import (
	"github.com/roostd/roost/proxy/internal/http1"
)

// fail answers the request itself, or cuts the answer that has begun.
func (x *exchange) fail(f *failure) {
	x.rec.Error, x.rec.Reason = f.code, f.reason
	if x.answering {
		x.cut()
		return
	}
	a := look(f.code)
	x.keep = x.keep && !a.closes
	x.begin(a.status)

	accept, _ := x.req.Get(http1.Accept)
	p := newPage(f, wantsHTML(string(accept)), &x.policy, string(x.id))
	head := x.req.Method == http1.MethodHead
	x.out = p.append(x.out[:0], f, head, x.keep, x.req.Minor)
	var raw []byte
	if !head {
		raw = p.raw
	}
	if x.reply(raw) && !head {
		x.rec.BytesOut = int64(p.size())
	}
}

// begin readies the exchange for an answer of the proxy's own.
func (x *exchange) begin(status int) {
	x.letGo(false)
	x.c.resume()
	x.rec.Status = status
	x.keep = x.keep && !x.c.srv.draining.Load() && x.drainable()
	x.lingers = !x.keep && (x.lingers || !x.up.Done() || x.req.KeepAlive())
}

// reply sends what is in x.out, and body. It reports whether the client took it.
func (x *exchange) reply(body []byte) bool {
	x.c.wait(phaseClientWrite)
	_, err := x.c.sock.send(x.out, body, nil)
	x.keep = x.keep && err == nil
	return err == nil
}

// cheapDrain is how much of an unwanted body is read to keep a connection.
const cheapDrain = 64 << 10

// drainable reports whether the rest of the request's body is known to be
// short and on its way.
func (x *exchange) drainable() bool {
	return x.up.Done() || x.up.Kind == http1.ByLength && x.up.Left <= cheapDrain && !x.req.Expect100
}

// drainBody reads the rest of the body that nobody wants, if the connection
// is to be kept.
func (x *exchange) drainBody() bool {
	c := x.c
	for {
		// First what is here already: it may be all, and fill needs room.
		_, used, err := x.up.Feed(c.in.unread())
		if err != nil {
			return false
		}
		if c.in != nil {
			c.in.r += used
		}
		if x.up.Done() {
			return true
		}
		release(&c.in)
		c.wait(phaseClientRead)
		if c.sock.fill(&c.in, false) != nil {
			return false
		}
	}
}

// cut ends an answer that cannot be completed: never so that it looks
// complete.
func (x *exchange) cut() {
	x.keep, x.c.cut, x.lingers = false, true, false
}

// gone notes that the client has left.
func (x *exchange) gone() {
	x.cut()
	if !x.answering {
		x.rec.Status = statusClientGone
	}
	if x.rec.Error == "" {
		x.rec.Error = codeClientGone
	}
}

// broken ends the exchange if its connection was interrupted, and reports
// whether it was.
func (x *exchange) broken() bool {
	switch x.c.interrupted() {
	case causeNone:
		return false
	case causeShutdown:
		x.fail(&failure{code: codeShuttingDown, reason: "the drain of the proxy is over"})
	case causeSilent:
		x.fail(&failure{code: codeBackendTimeout, reason: "the app was silent for " + x.policy.Timeout.String()})
	case causeBody:
		x.lingers = true
		x.fail(x.uploadBad)
	default:
		x.gone()
	}
	return true
}
