package forward

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/roostd/roost/proxy/internal/http1"
)

// Record is one exchange, as the access log has it. Slices and the record
// itself are reused: they are valid only during Observer.Exchange.
type Record struct {
	// Time is when the exchange began.
	Time time.Time
	// App, Instance and Generation are empty where none was chosen.
	App        string
	Instance   string
	Generation int64
	// Client is the address of the client: the peer's, or the one that
	// trusted proxies name.
	Client string
	// Host is as the client named it, with its port if there was one.
	Host   []byte
	Method []byte
	// Path has its dot segments resolved; Query starts with "?" or is empty.
	Path  []byte
	Query []byte
	// Proto is "HTTP/1.1" or "HTTP/1.0".
	Proto string
	// Status is that of the answer, 101 of an upgraded connection, 499 when
	// the client left before there was one.
	Status int
	// Error is the Roost-Error of a generated answer, or why an answer was
	// cut; empty when all went well.
	Error string
	// BytesIn and BytesOut count the bodies, without heads and chunk sizes,
	// and both directions of an upgraded connection.
	BytesIn, BytesOut int64
	// Duration is from the first byte of the request to the last of the
	// answer, Wait the part of it spent waiting for an instance, Backend
	// the part from the request being sent to the end of the app's answer.
	Duration, Wait, Backend time.Duration
	// RequestID is the X-Request-Id that the app saw.
	RequestID []byte
	// Referer and UserAgent are as the client sent them; only the combined
	// log format has them.
	Referer, UserAgent []byte
	// Reason says more about Error, for logs; it never has the app's output.
	Reason string
}

// finish gives back what the exchange holds and tells the observer.
func (x *exchange) finish() {
	x.letGo(false)
	if x.doneAt == 0 {
		x.doneAt = x.c.srv.now()
	}
	o := x.c.srv.cfg.Observer
	if o == nil {
		return
	}
	r := &x.rec
	r.Duration = x.doneAt - x.started
	r.Time = time.Now().Add(-r.Duration) // by the wall clock, which may have been set
	if x.sentAt > 0 {
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
		for _, name := range slices.Backward(strings.Split(string(x.req.Value(f)), ",")) {
			a, err := netip.ParseAddr(strings.TrimSpace(name))
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
