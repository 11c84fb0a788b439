package forward

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// untouched is an app that must not see a byte.
func untouched(t *testing.T) string {
	return rawApp(t, func(c *client) {
		if b, err := c.r.ReadByte(); err == nil {
			t.Errorf("the app was sent %q", b)
		}
	})
}

func TestFraming_Refused(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	tests := []struct {
		name, send string
		status     int
		code       string
	}{
		{"length and chunked", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/x"), 400, "bad-request"},
		{"chunked twice", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"gzip, chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"vertical tab", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"chunked on 1.0", "POST / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/x"), 400, "bad-request"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "bad-request"},
		{"signed length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na", 400, "bad-request"},
		{"length list", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1,1\r\n\r\na", 400, "bad-request"},
		{"empty length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\na", 400, "bad-request"},
		{"bare LF in a chunk size", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400, "bad-request"},
		{"0x1", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400, "bad-request"},
		{"17 digits", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\na\r\n0\r\n\r\n", 400, "bad-request"},
		{"obs-fold", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400, "bad-request"},
		{"NUL", "GET / HTTP/1.1\r\nHost: h\r\nA: b\x00c\r\n\r\n", 400, "bad-request"},
		{"CR", "GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400, "bad-request"},
		{"space before colon", "GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400, "bad-request"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, "bad-request"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad-request"},
		{"bad host", "GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", 400, "bad-request"},
		{"bare LF", "GET / HTTP/1.1\nHost: h\n\n", 400, "bad-request"},
		{"above the root", "GET /a/../../b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"},
		{"above the root, escaped", "GET /%2e%2E/b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"},
		{"2 MB of head", "GET / HTTP/1.1\r\nHost: h\r\nA: " + long + "\r\n\r\n", 431, "head-too-large"},
		{"CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 405, "method-not-allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, []string{untouched(t)})
			c := w.dial()
			go io.WriteString(c.Conn, tt.send) // the server may close before it has all
			resp, _ := c.expect(tt.status, tt.code)
			if !resp.Close {
				t.Errorf("not announced as closing: %v", resp.Header)
			}
			c.CloseWrite()
			c.closed()
		})
	}
}

func (c *client) CloseWrite() { c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

func TestFraming_TraceIsRefusedAndKeepsTheConnection(t *testing.T) {
	w := newWorld(t, []string{untouched(t)})
	c := w.dial()
	c.send("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n").expect(405, "method-not-allowed")
	c.send("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n").expect(405, "method-not-allowed")
	if r := w.journal.next(t); len(r.RequestID) == 0 {
		t.Error("recorded without a request id")
	}
}

// TestFraming_UnwantedBodyIsReadOver: one that came with its head, in part or as
// a whole, and fills the buffer that the head was read into.
func TestFraming_UnwantedBodyIsReadOver(t *testing.T) {
	w := newWorld(t, []string{untouched(t)}, config(func(c *Config) { c.DrainTimeout = time.Hour }))
	c := w.dial()
	for _, n := range []int{1, smallBuffer / 2, smallBuffer, smallBuffer + 1000, cheapDrain} {
		head := fmt.Sprintf("TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", n)
		c.send(head+strings.Repeat("x", n)).expect(405, "method-not-allowed")
	}
	// Nothing more is being waited for: a shutdown finds the connection idle.
	w.stop()
	c.closed()
}

// TestFraming_LateBadChunk: the fault comes when a part was sent already.
func TestFraming_LateBadChunk(t *testing.T) {
	got, begun := make(chan string, 1), make(chan string, 1)
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		begun <- c.head()
		b, _ := io.ReadAll(c.r)
		got <- string(b)
	})})
	c := w.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	receive(t, begun)
	c.send("zz\r\n").expect(400, "bad-request")
	if b := receive(t, got); strings.HasSuffix(b, "0\r\n\r\n") {
		t.Errorf("the app saw a complete body: %q", b)
	}
}

func TestFraming_AbsoluteTargetCounts(t *testing.T) {
	heads := make(chan string, 1)
	w := newWorld(t, []string{rawApp(t, func(c *client) { heads <- c.head(); io.WriteString(c, ok) })})
	c := w.dial()
	c.send("GET http://b.example:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n").expect(200, "")
	head := receive(t, heads)
	if !strings.HasPrefix(head, "GET /p?q HTTP/1.1\r\nHost: b.example:81\r\n") || strings.Contains(head, "Host: a\r\n") {
		t.Errorf("forwarded %q", head)
	}
}

func TestFraming_OptionsAsterisk(t *testing.T) {
	heads := make(chan string, 1)
	w := newWorld(t, []string{rawApp(t, func(c *client) { heads <- c.head(); io.WriteString(c, ok) })})
	w.dial().send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").expect(200, "")
	if head := receive(t, heads); !strings.HasPrefix(head, "OPTIONS * HTTP/1.1\r\n") {
		t.Errorf("forwarded %q", head)
	}
}

// TestFraming_TrailersStayTrailers: a framing field among the trailers is
// dropped, others pass.
func TestFraming_TrailersStayTrailers(t *testing.T) {
	bodies := make(chan string, 1)
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		var b strings.Builder
		for !strings.HasSuffix(b.String(), "0\r\n") {
			line, _ := c.r.ReadString('\n')
			b.WriteString(line)
		}
		b.WriteString(c.head())
		bodies <- b.String()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nRoost-Error: no\r\nContent-Length: 5\r\n\r\n")
	})})
	c := w.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Length: 5\r\nX-A: 1\r\nRoost-Token: x\r\n\r\n")
	resp, _ := c.response("POST")
	if got := receive(t, bodies); got != "1\r\na\r\n0\r\nX-A: 1\r\n\r\n" {
		t.Errorf("the app got %q", got)
	}
	if len(resp.Trailer) != 1 || resp.Trailer.Get("X-Sum") != "1" {
		t.Errorf("trailers %v", resp.Trailer)
	}
}

// TestFraming_OneRequestForOne: nothing that follows a refused request is
// taken for another.
func TestFraming_OneRequestForOne(t *testing.T) {
	var seen atomic.Int32
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		for c.head() != "" {
			seen.Add(1)
			io.WriteString(c, ok)
		}
	})})
	c := w.dial()
	c.send("POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/smuggled"))
	c.expect(400, "bad-request")
	c.CloseWrite()
	c.closed()
	if n := seen.Load(); n != 0 {
		t.Errorf("%d requests reached the app", n)
	}
}

func TestFraming_BadAnswers(t *testing.T) {
	for name, reply := range map[string]string{
		"no HTTP":            "hello\r\n\r\n",
		"length and chunked": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
		"gzip coding":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na",
		"bare LF":            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"unasked 101":        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"2 MB of head":       "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 2<<20) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []string{rawApp(t, answering(reply))})
			c := w.dial()
			c.send(get("/")).expect(502, "backend-lost")
			c.send(get("/")).expect(502, "backend-lost") // the client's connection lives
		})
	}
}

func TestFraming_ResponseBodies(t *testing.T) {
	tests := []struct{ name, reply, body string }{
		{"length", ok, "ok"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x\r\nk\r\n0\r\n\r\n", "ok"},
		{"none", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", ""},
		{"zero", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var conns atomic.Int32
			w := newWorld(t, []string{rawApp(t, func(c *client) { conns.Add(1); answering(tt.reply)(c) })})
			c := w.dial()
			for range 3 {
				if _, body := c.send(get("/")).response("GET"); body != tt.body {
					t.Errorf("body %q, want %q", body, tt.body)
				}
			}
			if n := conns.Load(); n != 1 {
				t.Errorf("%d connections to the app", n)
			}
		})
	}
}

func TestFraming_UntilClose(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nall of it")
	})})
	c := w.dial()
	for range 2 { // in chunks, so that the end is an end and the connection lives
		if resp, body := c.send(get("/")).response("GET"); body != "all of it" || resp.TransferEncoding == nil {
			t.Errorf("%v: %q", resp, body)
		}
	}
	c = w.dial()
	c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	if resp, body := c.response("GET"); body != "all of it" || resp.TransferEncoding != nil || !resp.Close {
		t.Errorf("%v: %q", resp, body)
	}
}

func TestFraming_HTTP10Client(t *testing.T) {
	heads := make(chan string, 3)
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		for {
			h := c.head()
			if h == "" {
				return
			}
			heads <- h
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+ok)
		}
	})})
	c := w.dial()
	if resp, body := c.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").response("GET"); body != "ok" || resp.Header.Get("Connection") != "keep-alive" {
		t.Errorf("%v: %q", resp, body)
	}
	c.send("GET /b HTTP/1.0\r\n\r\n").expect(200, "")
	c.closed()
	if h := receive(t, heads); !strings.HasPrefix(h, "GET /a HTTP/1.1\r\nHost: "+w.addr+"\r\n") {
		t.Errorf("forwarded %q", h)
	}
}

func TestFraming_HeadHasNoBody(t *testing.T) {
	var conns atomic.Int32
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		conns.Add(1)
		answering("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")(c)
	})})
	c := w.dial()
	for range 2 {
		resp, _ := c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").response("HEAD")
		if resp.ContentLength != 1000 {
			t.Errorf("Content-Length %d", resp.ContentLength)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the app", n)
	}
}
