package forward

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/http1"
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
func (x *exchange) run() bool {
	c := x.c
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
	if e, ok := err.(*http1.Error); ok && e.Status == 431 {
		code = codeHeadTooLarge
	}
	x.lingers = true
	x.fail(&failure{code: code, reason: err.Error()})
}

// handle finds the app and forwards the request to it.
func (x *exchange) handle() {
	c, req := x.c, &x.req
	x.up.RequestBody(req)
	if req.Method == http1.MethodConnect || req.Method == http1.MethodTrace {
		x.keep = x.keep && req.Method == http1.MethodTrace
		x.fail(&failure{code: codeMethodNotAllowed, reason: "CONNECT and TRACE are not supported"})
		return
	}
	x.requestID()
	entry, ok := c.srv.cfg.Routes.Load().Lookup(req.Hostname, req.Path)
	if !ok {
		x.fail(c.srv.noRoute())
		return
	}
	x.app = entry.Target
	x.policy = x.app.Policy()
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

// finish gives back what the exchange holds and tells the observer.
func (x *exchange) finish() {
	x.letGo(false)
	o := x.c.srv.cfg.Observer
	if o == nil {
		return
	}
	r := &x.rec
	r.Duration = x.c.srv.now() - x.started
	r.Time = x.c.srv.base.Add(x.started)
	if x.sentAt > 0 {
		if x.doneAt == 0 {
			x.doneAt = x.started + r.Duration
		}
		r.Backend = x.doneAt - x.sentAt
	}
	if x.app != nil {
		r.App = x.app.Name()
	}
	if !x.saved {
		x.describe()
	}
	o.Exchange(r)
}

// describe fills in what the record says of the request.
func (x *exchange) describe() {
	r, req := &x.rec, &x.req
	r.Client = x.c.ip
	if x.c.trusted {
		r.Client = x.namedClient()
	}
	r.Method, r.Host, r.Path, r.Query = req.MethodName, req.Host, req.Path, req.Query
	r.Proto = "HTTP/1.1"
	if req.Minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	r.RequestID = x.id
	r.Referer, _ = req.Get(http1.Referer)
	r.UserAgent, _ = req.Get(http1.UserAgent)
}

// save frees the buffer of the request's head before a wait that may be long,
// and keeps copies of what the record needs.
func (x *exchange) save() {
	if x.saved || len(x.c.in.unread()) > 0 {
		return
	}
	x.saved = true
	x.describe()
	r := &x.rec
	x.copies = x.copies[:0]
	for _, p := range []*[]byte{&r.Method, &r.Host, &r.Path, &r.Query, &r.Referer, &r.UserAgent} {
		x.copies = append(x.copies, *p...)
	}
	rest := x.copies
	for _, p := range []*[]byte{&r.Method, &r.Host, &r.Path, &r.Query, &r.Referer, &r.UserAgent} {
		n := len(*p)
		*p, rest = rest[:n:n], rest[n:]
	}
	release(&x.c.in)
}

// namedClient is the client that trusted proxies name: the last address of
// X-Forwarded-For, from right to left, that is not one of theirs.
func (x *exchange) namedClient() string {
	client := x.c.ip
	for i := x.req.Len() - 1; i >= 0; i-- {
		f := x.req.At(i)
		if f.ID != http1.XForwardedFor {
			continue
		}
		list := strings.Split(string(x.req.Value(f)), ",")
		for j := len(list) - 1; j >= 0; j-- {
			a, err := netip.ParseAddr(strings.TrimSpace(list[j]))
			if err != nil {
				return client
			}
			client = a.Unmap().String()
			if !x.c.srv.trusts(a.Unmap()) {
				return client
			}
		}
	}
	return client
}

// fail answers the request itself, or cuts the answer that has begun.
func (x *exchange) fail(f *failure) {
	c := x.c
	x.rec.Error, x.rec.Reason = f.code, f.reason
	if x.answering {
		x.cut()
		return
	}
	x.letGo(false)
	c.resume()
	a := look(f.code)
	x.rec.Status = a.status
	x.keep = x.keep && !a.closes && !c.srv.draining.Load() && x.drainable()
	x.lingers = x.lingers || !x.up.Done()

	accept, _ := x.req.Get(http1.Accept)
	p := newPage(f, wantsHTML(string(accept)), x.policy.DetailedErrors, string(x.id))
	head := x.req.Method == http1.MethodHead
	x.out = p.append(x.out[:0], f, head, x.keep, x.req.Minor)
	c.wait(phaseClientWrite)
	if !head {
		x.rec.BytesOut = int64(len(p.body))
	}
	if _, err := c.sock.send(x.out, nil, nil); err != nil {
		x.keep = false
	}
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
	for !x.up.Done() {
		release(&c.in)
		c.wait(phaseClientRead)
		if c.sock.fill(&c.in, false) != nil {
			return false
		}
		_, used, err := x.up.Feed(c.in.unread())
		if err != nil || used == 0 {
			return false
		}
		c.in.r += used
	}
	return true
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

// letGo ends the use of the app: the connection goes back if keep is set and
// nothing has happened to it, and is closed otherwise.
func (x *exchange) letGo(keep bool) {
	keep = keep && x.uploaded()
	if x.upload != nil {
		x.upload.stop()
		x.upload = nil
	}
	if x.bc != nil {
		if x.c.detach() && keep {
			x.lease.Keep(x.bc)
		} else {
			x.bc.Close()
		}
		x.bc, x.peer = nil, nil
	}
	discard(&x.bb)
	if x.held {
		x.lease.Release()
		x.held = false
	}
}
