package forward

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/route"
)

const challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 3\r\n\r\n"

// TestPair_ChallengeBeforeTheBodyIsThere: the app asks who it is as soon as it
// has the head, and the client, which knows that such a handshake needs its
// connection, sends the rest of the body before it goes on.
func TestPair_ChallengeBeforeTheBodyIsThere(t *testing.T) {
	piece := strings.Repeat("x", 70_000)
	for name, tt := range map[string]struct{ fields, now, later string }{
		"length":   {"Content-Length: 140000\r\n", piece, piece},
		"chunked":  {"Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "2\r\nde\r\n0\r\n\r\n"},
		"expected": {"Content-Length: 5\r\nExpect: 100-continue\r\n", "", "abcde"},
	} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int32
			w := newWorld(t, []string{rawApp(t, func(c *client) {
				conns.Add(1)
				req, err := http.ReadRequest(c.r)
				if err != nil {
					return
				}
				io.WriteString(c, challenge+"who")
				n, err := io.Copy(io.Discard, req.Body)
				if err != nil {
					t.Errorf("body: %v", err)
				}
				c.head()
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n%010d", n)
			})})
			c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\n" + tt.fields + "\r\n" + tt.now)
			if resp, body := c.expect(401, ""); body != "who" || resp.Close {
				t.Errorf("%q, close %v", body, resp.Close)
			}
			c.send(tt.later + authorized(kerberos("ada")))
			want := map[string]string{"length": "0000140000", "chunked": "0000000005", "expected": "0000000005"}[name]
			if _, body := c.expect(200, ""); body != want {
				t.Errorf("the app had %s bytes, want %s", body, want)
			}
			if n := conns.Load(); n != 1 {
				t.Errorf("%d connections to the app", n)
			}
		})
	}
}

// TestPair_AppThatClosesBeforeTheBodyIsThere takes the client's connection with it.
func TestPair_AppThatClosesBeforeTheBodyIsThere(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, strings.Replace(challenge, "\r\n", "\r\nConnection: close\r\n", 1)+"who")
	})})
	c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
	if resp, _ := c.expect(401, ""); !resp.Close {
		t.Error("the connection stays open for a body that nobody reads")
	}
	c.closed()
}

// TestPair_BodyThatNeverComes: a challenged client has as long for it as any.
func TestPair_BodyThatNeverComes(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, challenge+"who")
		io.Copy(io.Discard, c.r)
	})}, short(Limits{Body: 300 * time.Millisecond, Linger: 100 * time.Millisecond}))
	for _, fields := range []string{"Content-Length: 10\r\n\r\nabc", "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"} {
		c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\n" + fields)
		c.expect(401, "")
		c.closed()
		w.inFlight(0)
	}
}

func TestPair_HeadAndUpgrade(t *testing.T) {
	var conns atomic.Int32
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		conns.Add(1)
		for {
			switch h := c.head(); {
			case strings.HasPrefix(h, "HEAD "):
				io.WriteString(c, challenge)
			case strings.Contains(h, "Upgrade: websocket") && strings.Contains(h, "Authorization: Negotiate"):
				io.WriteString(c, switching+wsFrame(1, "hi"))
				return
			case h != "":
				io.WriteString(c, challenge+"who")
			default:
				return
			}
		}
	})})
	c := w.dial().send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp, _ := c.response("HEAD"); resp.StatusCode != 401 {
		t.Errorf("%s", resp.Status)
	}
	c.send(handshake).expect(401, "")
	c.send(strings.Replace(handshake, "\r\n\r\n", "\r\nAuthorization: "+kerberos("ada")+"\r\n\r\n", 1)).upgraded()
	c.want(wsFrame(1, "hi")).closed()
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the app", n)
	}
}

// TestPair_EachAppHasItsOwn: a client is who it is to each app, as far as the
// number of apps allows.
func TestPair_EachAppHasItsOwn(t *testing.T) {
	w := newWorld(t, nil)
	var entries []route.Entry[*backend.Pool]
	apps := make([]*authApp, maxPairs+1)
	for i := range apps {
		apps[i] = newAuthApp(t)
		name := fmt.Sprintf("app%d", i)
		w.registry.Apply(backend.Set{App: name, Epoch: 1, Revision: 1, Policy: backend.Policy{Timeout: patience},
			Endpoints: []backend.Endpoint{{Instance: name, Network: "tcp", Address: apps[i].addr}}})
		entries = append(entries, route.Entry[*backend.Pool]{Rule: route.Rule{Path: fmt.Sprintf("/%d", i)}, Target: w.registry.Get(name)})
	}
	w.cfg.Routes.Store(route.New(entries))
	c := w.dial()
	login := func(i int) {
		c.send(strings.Replace(authorized(kerberos(fmt.Sprintf("user%d", i))), "/", fmt.Sprintf("/%d", i), 1)).expect(200, "")
	}
	for i := range maxPairs {
		login(i)
	}
	for i := range maxPairs {
		if _, body := c.send(get(fmt.Sprintf("/%d", i))).expect(200, ""); body != fmt.Sprintf("user%d@1", i) {
			t.Errorf("app %d knows %q", i, body)
		}
	}
	login(maxPairs)
	apps[0].gone(t) // the one used longest ago
	c.send(get("/0")).expect(401, "")
	if _, body := c.send(get("/2")).expect(200, ""); body != "user2@1" {
		t.Errorf("app 2 knows %q", body)
	}
}
