package forward

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"

	"github.com/roostd/roost/proxy/internal/http1"
)

// Fields that are not passed on. What is ours to say (Host, framing,
// connection management, forwarding) is left out and written anew, so that no
// Connection field of the client can have it removed.
var (
	hopByHop = []http1.ID{
		http1.Connection, http1.KeepAlive, http1.ProxyConnection, http1.ProxyAuthenticate,
		http1.ProxyAuthorization, http1.TE, http1.TransferEncoding, http1.Upgrade, http1.ContentLength,
	}
	never = append([]http1.ID{
		http1.Host, http1.Expect, http1.XForwardedFor, http1.XRequestID, http1.Roost, http1.Module, http1.Disguised,
	}, hopByHop...)
	forwarding = []http1.ID{
		http1.Forwarded, http1.XForwardedHost, http1.XForwardedPort, http1.XForwardedPrefix,
		http1.XForwardedProto, http1.XForwarded, http1.XRealIP,
	}
	module = []http1.ID{http1.XOriginal}

	// Of requests to plain apps, and to those that are told what the ASP.NET Core
	// Module tells: those would believe X-Original-*.
	dropFromTrusted = dropped{http1.SetOf(never...), http1.SetOf(slices.Concat(never, module)...)}
	dropFromOthers  = dropped{
		http1.SetOf(slices.Concat(forwarding, never)...), http1.SetOf(slices.Concat(forwarding, never, module)...),
	}
	dropFromApp   = http1.SetOf(append([]http1.ID{http1.Roost}, hopByHop...)...)
	dropUnchunked = http1.SetOf(append([]http1.ID{http1.Roost, http1.Trailer}, hopByHop...)...)
	dropInterim   = dropUnchunked
	dropTrailers  = allKnown()
)

// dropped are sets of fields that are not passed on.
type dropped struct{ plain, module *http1.Set }

func (d dropped) of(module bool) *http1.Set {
	if module {
		return d.module
	}
	return d.plain
}

// allKnown is for trailers: none of the fields that a proxy knows has a
// meaning there, and a framing or routing field would be a lie.
func allKnown() *http1.Set {
	s := new(http1.Set)
	for id := range s {
		s[id] = http1.ID(id) != http1.Other
	}
	return s
}

// appendRequest renders the head for the app.
func (x *exchange) appendRequest(b []byte) []byte {
	c, req, to := x.c, &x.req, x.lease.Endpoint()
	b = append(b, req.MethodName...)
	b = append(b, ' ')
	b = x.appendTarget(b)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	if len(req.Host) > 0 || req.Minor == 1 {
		b = append(b, req.Host...)
	} else {
		b = append(b, c.sock.nc.LocalAddr().String()...)
	}
	b = append(b, http1.CRLF...)
	if c.trusted {
		b = req.AppendExcept(b, dropFromTrusted.of(to.Module))
	} else {
		b = req.AppendExcept(b, dropFromOthers.of(to.Module))
		x.warnOfSpoofing()
	}
	b = x.appendFraming(b)
	b = x.appendForwarding(b, to.Module)
	b = http1.AppendField(b, "X-Request-Id", x.id)
	if to.Token != "" {
		b = http1.AppendField(b, "Roost-Token", to.Token)
		if to.Module {
			b = http1.AppendField(b, "MS-ASPNETCORE-TOKEN", to.Token)
		}
	}
	return append(b, http1.CRLF...)
}

func (x *exchange) appendTarget(b []byte) []byte {
	path := x.req.Path[len(x.strip):]
	if len(path) == 0 {
		b = append(b, '/')
	}
	b = append(b, path...)
	return append(b, x.req.Query...)
}

func (x *exchange) appendFraming(b []byte) []byte {
	req := &x.req
	switch {
	case req.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case req.Length >= 0:
		b = appendLength(b, req.Length)
	}
	if req.Expect100 && req.HasBody() {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	te := req.Contains(http1.TE, "trailers")
	switch {
	case req.WebSocket():
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case te:
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	return b
}

func appendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, http1.CRLF...)
}

// appendForwarding says who asked for what. A trusted peer's own words stay:
// only X-Forwarded-For grows by its address.
func (x *exchange) appendForwarding(b []byte, module bool) []byte {
	c, req := x.c, &x.req
	keeps := func(id http1.ID) bool { return c.trusted && req.Has(id) }
	if c.ip != "" {
		b = append(b, "X-Forwarded-For: "...)
		if c.trusted {
			for i := range req.Len() {
				if f := req.At(i); f.ID == http1.XForwardedFor {
					b = append(append(b, req.Value(f)...), ", "...)
				}
			}
		}
		b = append(c.appendClient(b, module), http1.CRLF...)
	}
	if !keeps(http1.XForwardedProto) {
		b = http1.AppendField(b, "X-Forwarded-Proto", c.scheme())
	}
	if len(req.Host) > 0 && !keeps(http1.XForwardedHost) {
		b = http1.AppendField(b, "X-Forwarded-Host", req.Host)
	}
	if c.port != "" && !keeps(http1.XForwardedPort) {
		b = http1.AppendField(b, "X-Forwarded-Port", c.port)
	}
	if x.strip != "" && !keeps(http1.XForwardedPrefix) {
		b = http1.AppendField(b, "X-Forwarded-Prefix", x.strip)
	}
	if module && c.cert != "" {
		b = http1.AppendField(b, "MS-ASPNETCORE-CLIENTCERT", c.cert)
	}
	return b
}

// appendClient says who the client is: its address, as the module does with its
// port, and IPv6 in brackets then.
func (c *conn) appendClient(b []byte, module bool) []byte {
	if !module {
		return append(b, c.ip...)
	}
	return netip.AddrPortFrom(c.client, c.from).AppendTo(b)
}

func (c *conn) scheme() string {
	if c.sock.secure != nil {
		return "https"
	}
	return "http"
}

// warnOfSpoofing logs, once a peer, that fields were dropped which only a
// trusted proxy may send.
func (x *exchange) warnOfSpoofing() {
	for i := range x.req.Len() {
		f := x.req.At(i)
		switch f.ID {
		case http1.Forwarded, http1.XForwardedFor, http1.XForwardedHost, http1.XForwardedPort,
			http1.XForwardedPrefix, http1.XForwardedProto, http1.XForwarded, http1.XRealIP, http1.Disguised,
			http1.Roost, http1.Module:
			if x.c.srv.spoofers.first(x.c.client) {
				x.c.srv.cfg.Warn("dropped a forwarding or reserved field of a peer that is not trusted",
					"peer", x.c.ip, "field", string(x.req.Name(f)))
			}
			return
		}
	}
}

// requestID keeps a trusted peer's X-Request-Id, else makes one.
func (x *exchange) requestID() {
	x.id = x.id[:0]
	if x.c.trusted {
		if id, ok := x.req.Get(http1.XRequestID); ok && len(id) > 0 {
			x.id = append(x.id, id...)
			return
		}
	}
	x.id = appendHex(appendHex(x.id, rand.Uint64()), rand.Uint64())
}

func appendHex(b []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[v>>shift&15])
	}
	return b
}

// appendResponse renders the head for the client.
func (x *exchange) appendResponse(b []byte, chunked bool) []byte {
	resp := &x.resp
	b = http1.AppendStatus(b, resp.Status, resp.Reason)
	if chunked {
		b = resp.AppendExcept(b, dropFromApp)
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	} else {
		b = resp.AppendExcept(b, dropUnchunked)
	}
	if resp.Length >= 0 && resp.Status != 204 {
		b = appendLength(b, resp.Length)
	}
	return append(appendPersistence(b, x.keep, x.req.Minor), http1.CRLF...)
}

// frame puts the chunked coding around body bytes: what goes before them to
// head, what follows to tail, with the last chunk and the trailers once the
// body is done.
func frame(head, tail, data []byte, body *http1.Body, chunked bool) ([]byte, []byte) {
	if !chunked {
		return head, tail
	}
	if len(data) > 0 {
		head = http1.AppendChunkSize(head, len(data))
		tail = append(tail, http1.CRLF...)
	}
	if body.Done() {
		tail = append(tail, http1.LastChunk...)
		tail = body.Trailers.AppendExcept(tail, dropTrailers)
		tail = append(tail, http1.CRLF...)
	}
	return head, tail
}
