package forward

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
)

// TestPair_HandshakeIsNotContinuedElsewhere: where the app has closed the
// connection in between, the client's is closed, whatever its method, and a
// first step is not held to anything.
func TestPair_HandshakeIsNotContinuedElsewhere(t *testing.T) {
	a := newAuthApp(t)
	w := newWorld(t, []string{a.addr})
	c := w.dial()
	c.begin()
	receive(t, a.conns).Close()
	a.gone(t)
	nonce := c.begin() // a first step: on a new connection
	receive(t, a.conns).Close()
	a.gone(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nAuthorization: NTLM " + token(3, "ada@"+nonce) + "\r\n\r\nbody").closed()
	if n, wrong := a.next.Load(), a.wrong.Load(); n != 2 || wrong != 0 {
		t.Errorf("%d connections, %d wrong steps", n, wrong)
	}
	w.journal.next(t)
	w.journal.next(t)
	if r := w.journal.next(t); r.Error != "backend-lost" || r.Status != 502 || !strings.Contains(r.Reason, "is gone") {
		t.Errorf("record %+v", r)
	}
	w.inFlight(0)
}

// TestPair_ConnectionThatEndsWithAChallenge: the answer that a handshake begins with is
// the last on its connection, because the app says so or because the instance is being
// drained by then. The step that follows has no other connection to go to; whoever
// begins anew has.
func TestPair_ConnectionThatEndsWithAChallenge(t *testing.T) {
	for name, last := range map[string]string{"drained": "", "closed": "Connection: close\r\n"} {
		t.Run(name, func(t *testing.T) {
			a := newAuthApp(t)
			begun, finish := make(chan struct{}), make(chan struct{})
			w := newWorld(t, []string{rawApp(t, func(c *client) {
				for c.head() != "" {
					begun <- struct{}{}
					<-finish
					io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM "+token(2, "n")+"\r\n"+last+"Content-Length: 0\r\n\r\n")
				}
			}), a.addr})
			w.set.Endpoints[1].Draining = true
			w.apply()
			challenged := func() *client {
				w.set.Endpoints[0].Draining, w.set.Endpoints[1].Draining = false, true
				w.apply()
				c := w.dial().send(authorized("NTLM " + token(1, "")))
				receive(t, begun)
				w.set.Endpoints[0].Draining, w.set.Endpoints[1].Draining = last == "", false
				w.apply()
				finish <- struct{}{}
				if resp, _ := c.expect(401, ""); resp.Close {
					t.Error("the client's connection is closed")
				}
				return c
			}
			c := challenged()
			w.set.Endpoints[0].Draining = true
			w.apply()
			c.send(authorized("NTLM " + token(3, "ada@n"))).closed()
			c = challenged()
			w.set.Endpoints[0].Draining = true
			w.apply()
			if body := c.login("ada"); !strings.HasPrefix(body, "ada@") {
				t.Errorf("ada is %q", body)
			}
			if n := a.wrong.Load(); n != 0 {
				t.Errorf("%d steps went to an app that had not asked for them", n)
			}
			w.inFlight(0)
		})
	}
}

// TestPair_StepIsNeverSentTwice: the app has taken it, and closes.
func TestPair_StepIsNeverSentTwice(t *testing.T) {
	var steps atomic.Int32
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM "+token(2, "n")+"\r\nContent-Length: 0\r\n\r\n")
		if c.head() != "" {
			steps.Add(1)
		}
	})})
	c := w.dial()
	c.send(authorized("NTLM "+token(1, ""))).expect(401, "")
	c.send(authorized("NTLM " + token(3, "ada@n"))).closed()
	c = w.dial()
	c.send(authorized("NTLM "+token(1, ""))).expect(401, "")
	c.send("POST / HTTP/1.1\r\nHost: h\r\nAuthorization: NTLM "+token(3, "ada@n")+"\r\n\r\n").expect(502, "backend-lost")
	if n := steps.Load(); n != 2 {
		t.Errorf("sent %d times", n)
	}
}
