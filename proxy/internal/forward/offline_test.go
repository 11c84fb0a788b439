package forward

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/backend"
)

func (w *world) offline(o *backend.Offline) {
	w.set.Offline = o
	w.apply()
}

func TestOffline_EveryRequestGetsThePageAsItIs(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, answering(ok))})
	c := w.dial()
	c.send(get("/")).expect(200, "")
	w.journal.next(t)
	page := "<p>back at noon \xff\x00</p>" // its bytes are nobody's business
	w.offline(&backend.Offline{Page: []byte(page)})

	resp, body := c.send(get("/any")).expect(503, "offline")
	if body != page || resp.Header.Get("Content-Type") != "text/html" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v %q", resp.Header, body)
	}
	if r := w.journal.next(t); r.Error != "offline" || r.BytesOut != int64(len(page)) {
		t.Errorf("record %+v", r)
	}
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").expect(503, "offline")
	c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
	resp, body = c.response(http.MethodHead)
	if resp.StatusCode != 503 || resp.ContentLength != int64(len(page)) || body != "" {
		t.Errorf("HEAD: %v, %q", resp, body)
	}
	w.offline(nil)
	c.send(get("/")).expect(200, "") // on the same connection
}

func TestOffline_LargePageOverSlowReads(t *testing.T) {
	w := newWorld(t, nil)
	page := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	w.offline(&backend.Offline{Page: []byte(page)})
	c := w.dial()
	for range 2 {
		if _, body := c.send(get("/")).expect(503, "offline"); body != page {
			t.Fatalf("%d bytes", len(body))
		}
	}
}

func TestOffline_UnreadablePageHasNoBodyAndTheBuiltInOneSuitsTheClient(t *testing.T) {
	w := newWorld(t, nil)
	w.offline(&backend.Offline{})
	c := w.dial()
	if resp, body := c.send(get("/")).expect(503, "offline"); body != "" || resp.ContentLength != 0 {
		t.Errorf("%v %q", resp, body)
	}
	w.offline(&backend.Offline{BuiltIn: true})
	if resp, _ := c.send(get("/")).expect(503, "offline"); resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a program got %v", resp.Header)
	}
	browser := "GET / HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n"
	if resp, body := c.send(browser).expect(503, "offline"); !strings.Contains(body, "offline") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a browser got %v %q", resp.Header, body)
	}
}

func TestOffline_WhoWaitedGetsThePageToo(t *testing.T) {
	waiting, page := make(chan struct{}), make(chan struct{})
	w := newWorld(t, nil, config(func(c *Config) {
		c.Waiter = waiterFunc(func(context.Context, *backend.Pool, []string) error {
			waiting <- struct{}{}
			<-page
			return &activator.Failure{Code: codeOffline}
		})
	}))
	c := w.dial().send(get("/"))
	receive(t, waiting)
	w.offline(&backend.Offline{Page: []byte("later")})
	close(page)
	if _, body := c.expect(503, "offline"); body != "later" {
		t.Errorf("body %q", body)
	}
	// The daemon may refuse before its set is here, or after the next one is.
	w.offline(nil)
	go func() { <-waiting }()
	c.send(get("/")).expect(503, "offline")
}

func TestOffline_OpenRequestsFinishAndWebSocketsGoAtOnce(t *testing.T) {
	going := make(chan struct{})
	slow := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		going <- struct{}{}
		<-going
		fmt.Fprint(c, ok)
		io.Copy(io.Discard, c)
	})})
	c := slow.dial().send(get("/"))
	receive(t, going)
	slow.offline(&backend.Offline{Page: []byte("x")})
	slow.drainInstances()
	going <- struct{}{}
	c.expect(200, "")

	w, ws := wsWorld(t) // whose policy is to let them be
	w.inFlight(1)
	w.set.Offline = &backend.Offline{}
	w.drainInstances()
	goesAway(t, ws)
	w.inFlight(0)
}

func TestOffline_WebSocketsOfInstancesThatDrainAlreadyGoToo(t *testing.T) {
	for name, drop := range map[string]bool{"draining": false, "dropped": true} {
		t.Run(name, func(t *testing.T) {
			w, ws := wsWorld(t)
			w.inFlight(1)
			if drop {
				w.set.Endpoints = nil
				w.apply()
			} else {
				w.drainInstances()
			}
			echoes(t, ws) // it may go on
			w.offline(&backend.Offline{})
			goesAway(t, ws)
		})
	}
	w, ws := wsWorld(t)
	w.offline(&backend.Offline{})
	goesAway(t, ws)
	w.offline(nil) // another one may be opened, and stays
	c := w.dial().send(handshake)
	if resp, _ := c.response(http.MethodConnect); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v", resp.Status)
	}
	w.inFlight(1)
}
