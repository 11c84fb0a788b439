package forward

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/http1"
	"github.com/roostd/roost/proxy/internal/route"
)

// exchange is one request and its answer. It is pooled with the memory of its
// parsers, so an idle connection has none.
type exchange struct {
	c    *conn
	req  http1.Request
	resp http1.Response
	// The bodies, as they come in from either side.
	up, down http1.Body
	out      []byte // a head to be written, with what belongs to the same write
	tail     []byte // what follows the body's bytes in that write
	upHead   []byte // as out and tail, for the upload
	upTail   []byte
	stale    []string
	failed   []string
	id       []byte // X-Request-Id
	copies   []byte // see save
	rec      Record

	state
}

// state is the part of an exchange that starts from zero.
type state struct {
	started time.Duration
	sentAt  time.Duration // when the request was sent to the app
	doneAt  time.Duration // when the app's answer was complete

	app    *backend.Pool
	policy backend.Policy
	strip  string // path prefix that the app does not see

	lease  backend.Lease
	held   bool // lease is claimed
	bc     *backend.Conn
	peer   *sock
	bb     *buffer // what the app sent and nobody has used
	upload *upload
	ubuf   *buffer // what the upload read and has not used
	first  []byte  // body bytes that came with the head

	paired   bool // bc has carried earlier requests of this client alone
	orphaned bool // such a connection was gone
	pairs    bool // bc stays with this client

	attempts  int
	again     bool // the activator says that failed instances are worth a try
	backs     int  // times that the activator was told of failed instances
	fresh     bool // do not reuse a connection
	answering bool // a byte of the final answer may have been sent
	keep      bool // the client's connection stays open
	lingers   bool // the client may still be sending
	saved     bool // rec has its own copies of the request's parts
	uploadBad *failure
}

var exchanges = sync.Pool{New: func() any { return &exchange{out: make([]byte, 0, smallBuffer)} }}

func newExchange(c *conn) *exchange {
	x := exchanges.Get().(*exchange)
	x.c = c
	x.id = x.id[:0]
	x.req.Reset()
	return x
}

func (x *exchange) free() {
	x.c = nil
	x.state = state{}
	x.rec = Record{}
	x.stale, x.failed = x.stale[:0], x.failed[:0]
	if cap(x.out) <= largeBuffer {
		exchanges.Put(x)
	}
}

// run carries the exchange out. It reports whether the connection can carry
// another.
func (x *exchange) run() (again bool) {
	c := x.c
	defer c.contain(func() {
		again = false
		x.cut()
		x.letGo(false)
	})
	c.sweep.busy()
	x.started = c.srv.now()
	switch ok, err := x.readHead(); {
	case err != nil:
		x.refuse(err)
	case !ok:
		return false // it closed or was too slow: there is nobody to answer
	default:
		x.keep = x.req.KeepAlive()
		x.handle()
	}
	x.finish()
	x.takeBack()
	if x.keep && !x.drainBody() {
		return false
	}
	if !x.keep && x.lingers {
		c.linger()
	}
	return x.keep
}

// takeBack makes what the upload read beyond the body the start of the next
// request. Nothing may point into the head's buffer any more.
func (x *exchange) takeBack() {
	if len(x.ubuf.unread()) > 0 {
		discard(&x.c.in)
		x.c.in, x.ubuf = x.ubuf, nil
	}
	discard(&x.ubuf)
}

// readHead reads the request's head. ok is false if the client left first.
func (x *exchange) readHead() (ok bool, err error) {
	c := x.c
	for begun := false; ; {
		n, err := x.req.Parse(c.in.unread())
		if err != nil {
			return false, err
		}
		if n > 0 {
			c.in.r += n
			return true, nil
		}
		if !begun {
			begun = true
			c.wait(phaseHead)
		}
		if c.in.full() && !enlarge(&c.in) {
			return false, http1.ErrHeadTooLarge
		}
		if c.sock.fill(&c.in, false) != nil {
			return false, nil
		}
	}
}

// refuse answers a head that is not valid HTTP.
func (x *exchange) refuse(err error) {
	x.requestID()
	code := codeBadRequest
	if e, ok := errors.AsType[*http1.Error](err); ok && e.Status == 431 {
		code = codeHeadTooLarge
	}
	x.lingers = true
	x.fail(&failure{code: code, reason: err.Error()})
}

// handle finds the app and forwards the request to it.
func (x *exchange) handle() {
	c, req := x.c, &x.req
	x.requestID()
	x.up.RequestBody(req)
	if req.Method == http1.MethodConnect || req.Method == http1.MethodTrace {
		x.keep = x.keep && req.Method == http1.MethodTrace
		x.fail(&failure{code: codeMethodNotAllowed, reason: "CONNECT and TRACE are not supported"})
		return
	}
	entry, ok := c.srv.cfg.Routes.Load().Lookup(req.Hostname, req.Path)
	policy := route.Served
	if ok && x.inClear() {
		policy = entry.Rule.HTTPS
	}
	if !ok || policy == route.Only {
		x.fail(c.srv.noRoute())
		return
	}
	x.app = entry.Target
	x.policy = x.app.Policy()
	if policy == route.Redirect && !bytes.HasPrefix(req.Path, acmeChallenge) {
		x.redirect()
		return
	}
	if o := x.app.Offline(); o != nil {
		x.fail(outOfService(o))
		return
	}
	if entry.Rule.StripPath && entry.Rule.Path != "/" && req.Path[0] == '/' {
		x.strip = entry.Rule.Path
	}
	if limit := x.policy.MaxBody; limit > 0 && req.Length > limit {
		x.lingers = true
		x.fail(&failure{code: codeBodyTooLarge, reason: "Content-Length above requests.max_body"})
		return
	}
	c.slot.timeout.Store(x.policy.Timeout.Milliseconds())
	if f := x.takeFirst(); f != nil {
		x.fail(f)
		return
	}
	x.forward()
}

// takeFirst takes the body bytes that came with the head. They stay where
// they are until the request was sent, so that another attempt can send them
// again.
func (x *exchange) takeFirst() *failure {
	if x.up.Done() {
		return nil
	}
	data, used, err := x.up.Feed(x.c.in.unread())
	x.c.in.r += used
	x.first = data
	return x.received(len(data), err)
}

// received counts bytes of the request's body and says what is wrong with it.
func (x *exchange) received(n int, err error) *failure {
	x.rec.BytesIn += int64(n)
	if err != nil {
		return &failure{code: codeBadRequest, reason: err.Error()}
	}
	if limit := x.policy.MaxBody; limit > 0 && x.rec.BytesIn > limit {
		return &failure{code: codeBodyTooLarge, reason: "body above requests.max_body"}
	}
	return nil
}

// letGo ends the use of the app: the connection goes back, or stays with its
// client, if keep is set and nothing has happened to it, and is closed otherwise.
func (x *exchange) letGo(keep bool) {
	if x.upload != nil {
		keep = x.upload.stop() && keep
		x.upload = nil
	} else {
		keep = keep && x.up.Done()
	}
	if x.bc != nil {
		switch whole := x.c.detach(); {
		case x.pairs && x.keep:
			x.pair(whole && keep)
		case !whole || !keep:
			x.bc.Close()
		default:
			x.lease.Keep(x.bc)
		}
		x.bc, x.peer, x.paired = nil, nil, false
	}
	discard(&x.bb)
	if x.held {
		x.lease.Release()
		x.held = false
	}
}
