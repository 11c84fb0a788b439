package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestModuleForward_Posts(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		c := h.wire()
		for n := range 100 {
			_ = c.conn.SetDeadline(time.Now().Add(patience))
			body := bytes.Repeat([]byte{byte(n)}, n*n)
			c.send(t, "POST %s HTTP/1.1\nHost: web.test\n", a.takes)
			if n%2 == 0 {
				c.send(t, "Content-Length: %d\n\n", len(body))
				_, _ = c.conn.Write(body)
			} else {
				c.send(t, "Transfer-Encoding: chunked\n\n")
				_ = writeChunks(c.conn, body)
			}
			resp, got := c.receive(t, http.MethodPost)
			if resp.StatusCode != http.StatusOK || !contains(got, sumOf(body)) {
				t.Errorf("POST %d: %d %s", n, resp.StatusCode, got)
			}
			if resp.Close { // an app may answer before it has read the end of the last chunk
				c = h.wire()
			}
		}
	})
}

// What an app leaves of a request's body is not taken for the next request.
func TestModuleForward_BodiesThatTheAppDoesNotRead(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		c := h.wire()
		for n := range 20 {
			body := []byte(strings.Repeat("GET /crash HTTP/1.1\r\nHost: web.test\r\n\r\n", n*n*10))
			c.send(t, "POST /see/%d HTTP/1.1\nHost: web.test\n", n)
			if n%2 == 0 {
				c.send(t, "Content-Length: %d\n\n", len(body))
				_, _ = c.conn.Write(body)
			} else {
				c.send(t, "Transfer-Encoding: chunked\n\n")
				_ = writeChunks(c.conn, body)
			}
			resp, got := c.receive(t, http.MethodPost)
			if s := seen(t, reply{resp.StatusCode, resp.Header, got, nil}); s.Path != fmt.Sprintf("/see/%d", n) || s.Method != http.MethodPost {
				t.Errorf("request %d was taken for %s %s", n, s.Method, s.Path)
			}
			if resp.Close {
				c = h.wire()
			}
		}
		if n := h.count("web", "InstanceExited"); n > 0 {
			t.Errorf("the app has ended %d times", n)
		}
	})
}

// However the app marks the end of its answer, the client gets that whole, and
// keeps its connection: what the app says of its own is between it and the proxy.
func TestModuleForward_ResponseFormats(t *testing.T) {
	t.Parallel()
	const chunks = "5\r\nhello\r\n4\r\n you\r\n0\r\n\r\n"
	formats := map[string]string{
		"content length":    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello you",
		"chunked":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
		"1.0, close":        "HTTP/1.0 200 OK\r\n\r\nhello you",
		"1.0, length":       "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhello you",
		"1.1, close":        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello you",
		"chunked and close": "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
	}
	h := newHost(t)
	h.apply(h.behindModule("web", "accepts"))
	c := h.wire()
	for name, format := range formats {
		target := "/raw"
		if contains(name, "close") || contains(name, "1.0") {
			target = "/raw?close"
		}
		c.send(t, "POST %s HTTP/1.1\nHost: web.test\nContent-Length: %d\n\n", target, len(format))
		_, _ = c.conn.Write([]byte(format))
		resp, body := c.receive(t, http.MethodPost)
		if resp.StatusCode != http.StatusOK || body != "hello you" || resp.Close || resp.Header.Get("Connection") != "" {
			t.Errorf("%s: %d %q, close %v, %v", name, resp.StatusCode, body, resp.Close, resp.Header)
		}
		old := h.wire()
		old.send(t, "POST %s HTTP/1.0\nHost: web.test\nContent-Length: %d\n\n", target, len(format))
		_, _ = old.conn.Write([]byte(format))
		resp, body = old.receive(t, http.MethodPost)
		if body != "hello you" || len(resp.TransferEncoding) > 0 {
			t.Errorf("%s, to a client of 1.0: %q, %v", name, body, resp.TransferEncoding)
		}
	}
}

func TestKestrel_ResponseFormats(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	c := h.wire()
	c.send(t, "GET /bytes?n=5 HTTP/1.1\nHost: web.test\n\n")
	if resp, body := c.receive(t, http.MethodGet); resp.ContentLength != 5 || len(body) != 5 {
		t.Errorf("by its length: %v %q", resp, body)
	}
	c.send(t, "GET /events?n=3&ms=1 HTTP/1.1\nHost: web.test\n\n")
	const events = "data: 0\n\ndata: 1\n\ndata: 2\n\n"
	if resp, body := c.receive(t, http.MethodGet); len(resp.TransferEncoding) != 1 || body != events {
		t.Errorf("by chunks: %v %q", resp, body)
	}
	c.send(t, "GET /events?n=3&ms=1 HTTP/1.0\nHost: web.test\n\n")
	if resp, body := c.receive(t, http.MethodGet); len(resp.TransferEncoding) != 0 || body != events || !resp.Close {
		t.Errorf("by the connection's end: %v %q", resp, body)
	}
}

// Whether an answer is compressed is the app's choice, once.
func TestModuleForward_CompressionIsTheApps(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.behindModule("web", "accepts"))
	plain := strings.Repeat("hello ", 1000)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(plain))
	_ = z.Close()
	for encoding, body := range map[string]string{"": plain, "gzip": packed.String()} {
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nVary: Accept-Encoding\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", encoding, len(body), body)
		if encoding == "" {
			answer = strings.Replace(answer, "Content-Encoding: \r\n", "", 1)
		}
		c := h.wire()
		c.send(t, "POST /raw HTTP/1.1\nHost: web.test\nAccept-Encoding: gzip, deflate, br\nContent-Length: %d\n\n", len(answer))
		_, _ = c.conn.Write([]byte(answer))
		resp, got := c.receive(t, http.MethodPost)
		if got != body || strings.Join(resp.Header["Content-Encoding"], ", ") != encoding || len(resp.Header["Vary"]) != 1 {
			t.Errorf("%q: %d bytes of %d, %v", encoding, len(got), len(body), resp.Header)
		}
	}
}

// The path decides who may see what, so it arrives as it was sent but for dot segments.
func TestKestrel_PathsArriveAsSent(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	for target, want := range map[string]struct{ raw, path, query string }{
		"/see/a%2Fb":                 {"/see/a%2Fb", "/see/a%2Fb", ""},
		"/see//a///b":                {"/see//a///b", "/see//a///b", ""},
		"/see/a%20b+c":               {"/see/a%20b+c", "/see/a b+c", ""},
		"/see/%E2%82%AC":             {"/see/%E2%82%AC", "/see/€", ""},
		"/see/x%3Fy":                 {"/see/x%3Fy", "/see/x?y", ""},
		"/see/a%5Cb":                 {"/see/a%5Cb", "/see/a\\b", ""},
		"/x/../see/./y":              {"/see/y", "/see/y", ""},
		"/see/%2e%2E/see/z":          {"/see/z", "/see/z", ""},
		"/see/x?":                    {"/see/x?", "/see/x", "?"},
		"/see/x?a=%zz&&b=/../?c":     {"/see/x?a=%zz&&b=/../?c", "/see/x", "?a=%zz&&b=/../?c"},
		"/see/CASE?Q":                {"/see/CASE?Q", "/see/CASE", "?Q"},
		"http://web.test/see/x?q=1%": {"/see/x?q=1%", "/see/x", "?q=1%"},
	} {
		c := h.wire()
		c.send(t, "GET %s HTTP/1.1\nHost: web.test\n\n", target)
		resp, body := c.receive(t, http.MethodGet)
		var s seenByKestrel
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			t.Errorf("%s: %d %s", target, resp.StatusCode, body)
			continue
		}
		if s.RawTarget != want.raw || s.Path != want.path || s.Query != want.query {
			t.Errorf("%s arrives as %q, path %q, query %q; want %q", target, s.RawTarget, s.Path, s.Query, want)
		}
	}
}

func TestModuleForward_RequestTimeout(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		for name, tt := range map[string]struct {
			timeout time.Duration
			ms      string
			want    int
			code    string
		}{
			"patient":   {patience, "1500", http.StatusOK, ""},
			"impatient": {time.Second, "60000", http.StatusGatewayTimeout, "backend-timeout"},
		} {
			spec := a.spec(h, name)
			h.apply(spec)
			h.see(name, "/see/x", nil) // the first one may be slow, whatever the limit
			spec.Requests = &roostv1.Requests{Timeout: durationpb.New(tt.timeout)}
			h.apply(spec)
			if r := h.get(name, a.slow(tt.ms)).wants(t, tt.want); r.header.Get("Roost-Error") != tt.code {
				t.Errorf("%s: %v", name, r)
			}
			if n := h.count(name, "InstanceExited"); n > 0 {
				t.Errorf("%s: a silent request has ended the app", name)
			}
		}
	})
}

// Clients that leave at any moment, in any manner, leave nothing behind.
func TestModuleForward_ClientsThatLeave(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		pid := h.see("web", "/see/x", nil).PID
		requests := []string{
			"GET " + a.slow("60000") + " HTTP/1.1\nHost: web.test\n\n",                                    // before the answer
			"POST " + a.takes + " HTTP/1.1\nHost: web.test\nContent-Length: 100000\n\nhalf",               // in the body
			"POST " + a.takes + " HTTP/1.1\nHost: web.test\nTransfer-Encoding: chunked\n\n4\nhalf\n4\nha", // in a chunk
			"GET /see/x HTTP/1.1\nHost: web.test\nX-Half: ",                                               // in the head
			strings.Repeat("GET /see/x HTTP/1.1\nHost: web.test\n\n", 20),                                 // in what is to be answered
			"GET /ws HTTP/1.1\nHost: web.test\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n" + // in a WebSocket
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n",
		}
		var all sync.WaitGroup
		for n := range 60 {
			all.Go(func() {
				c, err := dialClient(h.url)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.close()
				_ = c.conn.SetDeadline(time.Now().Add(patience))
				_, _ = fmt.Fprint(c.conn, strings.ReplaceAll(requests[n%len(requests)], "\n", "\r\n"))
				if n%len(requests) >= 4 {
					_, _ = c.r.ReadByte()
				}
				if n%2 == 0 {
					_ = c.conn.(*net.TCPConn).SetLinger(0) // a reset
				}
			})
		}
		all.Wait()
		h.eventually("nothing is in flight", func() bool { return h.live("web")[0].InFlight == 0 })
		if now := h.see("web", "/see/x", nil).PID; now != pid || h.count("web", "EndpointFailure") > 0 {
			t.Errorf("it was process %d and is %d: %v", pid, now, h.seen("web"))
		}
	})
}

// The fields of the module are the proxy's to set: no client ends the app, and none
// is taken for another.
func TestModuleForward_ClientsDoNotSpeakForTheModule(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		pid := h.see("web", "/see/x", nil).PID
		forged := http.Header{}
		for _, name := range []string{
			"MS-ASPNETCORE", "mS-ASPNETCORE-f", "MS-ASPNETCORE-foo", "MS_ASPNETCORE_TOKEN", "ms-aspnetcore-token", "MS-ASPNETCORE-WINAUTHTOKEN",
			"MS-ASPNETCORE-CLIENTCERT", "MS-ASPNETCORE-" + strings.Repeat("o", 90),
		} {
			forged[name] = []string{"forged"}
		}
		for name, values := range h.see("web", "/see/x", forged).Headers {
			if contains(strings.Join(values, ""), "forged") {
				t.Errorf("%s: %q has reached the app", name, values)
			}
		}
		shutdown := http.Header{"Ms-Aspnetcore-Event": {"shutdown"}}
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			if r := h.do(method, "web", "/iisintegration", shutdown); r.status == http.StatusAccepted || r.err != nil {
				t.Errorf("%s: %v", method, r)
			}
		}
		if now := h.see("web", "/see/x", nil).PID; now != pid {
			t.Errorf("it was process %d and is %d", pid, now)
		}
	})
}

// An app that gives up its answer has not given one.
func TestKestrel_Abort(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	pid := h.see("web", "/", nil).PID
	if r := h.get("web", "/abort").wants(t, http.StatusBadGateway); r.header.Get("Roost-Error") != "backend-lost" {
		t.Errorf("before the head: %v", r)
	}
	// Asked without a proxy, Kestrel mostly drops what it was still to send, the head as
	// well: then there is no answer either.
	if r := h.get("web", "/abort?headers=true"); r.err == nil && r.header.Get("Roost-Error") != "backend-lost" {
		t.Errorf("after the head it came to a clean end: %v", r)
	}
	if now := h.see("web", "/", nil).PID; now != pid {
		t.Errorf("it was process %d and is %d", pid, now)
	}
}
