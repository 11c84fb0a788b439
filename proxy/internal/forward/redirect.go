package forward

import (
	"bytes"
	"net"

	"github.com/roostd/roost/proxy/internal/http1"
)

// acmeChallenge is below where those who issue certificates look, in clear text,
// for the proof of who a host belongs to.
var acmeChallenge = []byte("/.well-known/acme-challenge/")

// inClear reports whether the client's request was readable on its way. A trusted
// proxy knows better than we how the client reached it; of several, the first.
func (x *exchange) inClear() bool {
	if x.c.sock.secure != nil {
		return false
	}
	if !x.c.trusted {
		return true
	}
	proto, _ := x.req.Get(http1.XForwardedProto)
	proto, _, _ = bytes.Cut(proto, []byte(","))
	return !bytes.EqualFold(bytes.TrimSpace(proto), []byte("https"))
}

// redirect sends the client to the same URL over TLS. 308 keeps the method and the
// body.
func (x *exchange) redirect() {
	x.begin(308)
	b := http1.AppendStatus(x.out[:0], 308, []byte("Permanent Redirect"))
	b = append(b, "Location: "...)
	b = append(x.appendSecureURL(b), http1.CRLF...)
	b = append(b, "Content-Length: 0\r\n"...)
	b = appendDate(b)
	x.out = append(appendPersistence(b, x.keep, x.req.Minor), http1.CRLF...)
	x.reply(nil)
}

func (x *exchange) appendSecureURL(b []byte) []byte {
	req := &x.req
	b = append(b, "https://"...)
	if len(req.Hostname) > 0 {
		b = append(b, req.Hostname...)
	} else {
		b = append(b, x.c.ownHost()...) // as the app would be told, see appendRequest
	}
	if port := x.c.srv.cfg.HTTPSPort; port != "" && port != "443" {
		b = append(append(b, ':'), port...)
	}
	if len(req.Path) == 0 || req.Path[0] != '/' {
		return append(b, '/') // OPTIONS *
	}
	return append(append(b, req.Path...), req.Query...)
}

// ownHost is the address that the client has connected to, as a URL has it.
func (c *conn) ownHost() string {
	a, ok := c.sock.nc.LocalAddr().(*net.TCPAddr)
	switch {
	case !ok:
		return "localhost"
	case a.IP.To4() == nil:
		return "[" + a.IP.String() + "]"
	}
	return a.IP.String()
}
