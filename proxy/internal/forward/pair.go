package forward

import (
	"slices"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/http1"
)

// With Negotiate and NTLM a client proves to a connection who it is, and the app
// may take all that comes on it later for that client's. So a connection to an
// app on which either was spoken is never another client's: it is paired with
// the client's connection until either closes, or closed with its exchange.

// maxPairs bounds the apps that a client may be paired with at once, and so the
// connections to apps that an idle client can hold.
const maxPairs = 8

// decidePair settles, with the answer's head, whether the app's connection
// belongs to the client from now on.
func (x *exchange) decidePair() {
	if x.resp.ConnectionAuth {
		x.bc.Private = true
	}
	x.pairs = x.bc.Private && !x.shared()
}

// shared reports whether the client's connection may carry the requests of
// several people: it comes from another proxy. Paired with it, an app would
// take them all for the one who has authenticated.
func (x *exchange) shared() bool {
	c := x.c
	if c.trusted || c.ip == "" { // who connects to a unix socket is a proxy, most likely
		return true
	}
	for i := range x.req.Len() {
		f := x.req.At(i)
		if f.ID == http1.XForwardedFor || f.ID == http1.Forwarded || http1.EqualFold(x.req.Name(f), "via") {
			return true
		}
	}
	return false
}

// pair has the app's connection wait for the client's next request. One that is
// closed is noted as well: a handshake that was under way on it cannot go on.
func (x *exchange) pair(open bool) {
	c := x.c
	p := x.lease.Pin(x.bc)
	if !open {
		p.Close()
	}
	if len(c.pairs) == maxPairs {
		c.pairs[0].Close()
		c.pairs = slices.Delete(c.pairs, 0, 1)
	}
	c.pairs = append(c.pairs, p)
}

// rejoin claims the app's connection that is paired with the client's.
func (x *exchange) rejoin() bool {
	c := x.c
	i := slices.IndexFunc(c.pairs, func(p backend.Pinned) bool { return p.Pool() == x.app })
	if i < 0 {
		return false
	}
	p := c.pairs[i]
	c.pairs = slices.Delete(c.pairs, i, i+1)
	if x.shared() {
		p.Close()
		return false
	}
	lease, bc, ok := p.Claim()
	if !ok {
		x.orphaned = true
		return false
	}
	x.lease, x.held, x.bc, x.paired = lease, true, bc, true
	x.noteInstance()
	return true
}

// part gives up a pair whose other end was found closed.
func (x *exchange) part() {
	x.letGo(false)
	x.orphaned = true
}

// startsOver reports whether a request whose pair is gone can go to a new
// connection: who has no handshake under way is asked anew there. It reports
// false when the request was dealt with.
func (x *exchange) startsOver() bool {
	if credentials, _ := x.req.Get(http1.Authorization); !x.req.ConnectionAuth || http1.StartsConnectionAuth(credentials) {
		return true
	}
	x.hangUp("it was closed by the app, or its instance is being drained")
	return false
}

// hangUp closes the client's connection without an answer, as the app has closed
// the one that a handshake was under way on. To the client they are one, and it
// knows what to do: start over on a new one.
func (x *exchange) hangUp(reason string) {
	x.letGo(false)
	x.keep, x.lingers = false, true
	x.rec.Status, x.rec.Error = look(codeBackendLost).status, codeBackendLost
	x.rec.Reason = "the connection that the client was authenticating is gone: " + reason
}

// handshakes reports whether the answer is a step of a handshake that the client
// goes on with on this connection, though it has not sent all of its request.
func (x *exchange) handshakes() bool {
	return x.pairs && x.resp.Status == 401 && x.resp.KeepAlive() && x.down.Kind != http1.UntilClose
}

// finishUpload waits for the rest of a request that was answered already.
func (x *exchange) finishUpload() {
	c := x.c
	c.upWaits(upRead)
	c.wait(phaseApp)
	if x.upload != nil {
		<-x.upload.done
	}
	c.upWaits(upNone)
	if !x.up.Done() || c.interrupted() != causeNone {
		x.keep, x.lingers = false, true
	}
}
