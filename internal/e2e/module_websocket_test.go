package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// moduleSocket is a WebSocket to one of the module's apps, past its greeting.
func (h *host) moduleSocket(t testing.TB, name, query string, mode websocket.CompressionMode) (*websocket.Conn, *http.Response) {
	t.Helper()
	c, resp := h.offerCompression(name, "/ws"+query, mode)
	if contains(t.Name(), "/go") {
		if got := read(t, c); got != "hello" {
			t.Fatalf("greeted with %q", got)
		}
	}
	return c, resp
}

// talk sends a thousand messages, and reads them back in order.
func talk(t testing.TB, c *websocket.Conn) {
	t.Helper()
	const messages = 1000
	sent := make(chan error, 1)
	go func() {
		for n := range messages {
			if err := c.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, "message %d", n)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for n := range messages {
		if got, want := read(t, c), fmt.Sprintf("message %d", n); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestModuleWebSocket_AThousandMessages(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		c, _ := h.moduleSocket(t, "web", "", websocket.CompressionDisabled)
		talk(t, c)
	})
}

// Compression is for the two ends to agree on: the offer reaches the app, and what it
// says to it the client. One of the two apps takes it.
func TestModuleWebSocket_Compression(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		c, resp := h.moduleSocket(t, "web", "?compress", websocket.CompressionContextTakeover)
		takes := contains(t.Name(), "/go")
		if got := resp.Header.Get("Sec-WebSocket-Extensions"); contains(got, "permessage-deflate") != takes {
			t.Errorf("agreed on %q", got)
		}
		talk(t, c)
		echoes(t, c, []byte(strings.Repeat("x", 50_000)))
	})
}

// An app that vanishes takes its WebSockets along: they are cut, not closed.
func TestModuleWebSocket_TheAppVanishes(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		c, _ := h.moduleSocket(t, "web", "", websocket.CompressionDisabled)
		echoes(t, c, []byte("there"))
		kill(t, h.pids("web")[0])
		if got := closedWith(t, c); got != -1 {
			t.Errorf("closed with %d, want a cut", got)
		}
	})
}

const upgradeHead = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n"

// What can become a WebSocket is for the app to see, and what cannot, not.
func TestKestrel_Upgradable(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	for name, tt := range map[string]struct {
		request string
		want    bool
	}{
		"an upgrade":        {"GET /see/x HTTP/1.1\nHost: web.test\n" + upgradeHead + "\n", true},
		"in capitals":       {"GET /see/x HTTP/1.1\nHost: web.test\n" + strings.ToUpper("Connection: upgrade\nUpgrade: websocket\n") + "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n", true},
		"none":              {"GET /see/x HTTP/1.1\nHost: web.test\n\n", false},
		"one with a body":   {"GET /see/x HTTP/1.1\nHost: web.test\nContent-Length: 4\n" + upgradeHead + "\nbody", false},
		"one with chunks":   {"GET /see/x HTTP/1.1\nHost: web.test\nTransfer-Encoding: chunked\n" + upgradeHead + "\n4\nbody\n0\n\n", false},
		"one of HTTP/1.0":   {"GET /see/x HTTP/1.0\nHost: web.test\n" + upgradeHead + "\n", false},
		"another protocol":  {"GET /see/x HTTP/1.1\nHost: web.test\nConnection: Upgrade\nUpgrade: h2c\n\n", false},
		"one not connected": {"GET /see/x HTTP/1.1\nHost: web.test\nUpgrade: websocket\n\n", false},
	} {
		c := h.wire()
		c.send(t, "%s", strings.ReplaceAll(tt.request, "\n", "\r\n"))
		resp, body := c.receive(t, http.MethodGet)
		if s := seen(t, reply{resp.StatusCode, resp.Header, body, nil}); s.WebSockets != tt.want {
			t.Errorf("%s: upgradable %v, want %v; the app sees %v", name, s.WebSockets, tt.want, s.Headers)
		}
	}
	// An app that insists sees none either, and answers as it answers any request.
	c := h.wire()
	c.send(t, "GET /ws HTTP/1.0\nHost: web.test\n%s\n", strings.ReplaceAll(upgradeHead, "\n", "\r\n"))
	if resp, _ := c.receive(t, http.MethodGet); resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Roost-Error") != "" {
		t.Errorf("/ws by HTTP/1.0: %v", resp)
	}
}
