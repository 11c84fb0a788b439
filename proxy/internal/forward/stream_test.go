package forward

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/backend"
)

// noise is a body of n bytes that no shift or cut leaves equal.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func TestStream_LargeBodiesArriveWhole(t *testing.T) {
	body := noise(3 << 20)
	sum := sha256.Sum256(body)
	app := httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if r.Method == http.MethodPost && (err != nil || sha256.Sum256(got) != sum) {
			t.Errorf("the app got %d bytes, %v", len(got), err)
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		w.Write(body)
	})
	w := newWorld(t, []string{app})
	tr := &http.Transport{DisableCompression: true, TLSClientConfig: clientTLS()}
	defer tr.CloseIdleConnections()
	for _, chunked := range []bool{false, true} {
		for _, path := range []string{"/length", "/chunked"} {
			var up io.Reader = bytes.NewReader(body)
			if chunked {
				up = io.MultiReader(up)
			}
			req, _ := http.NewRequest(http.MethodPost, w.url("http")+path, up)
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || sha256.Sum256(got) != sum {
				t.Errorf("%s, chunked upload %v: %d bytes, %v", path, chunked, len(got), err)
			}
			if r := w.journal.next(t); r.BytesIn != int64(len(body)) || r.BytesOut != int64(len(body)) {
				t.Errorf("record: %d in, %d out", r.BytesIn, r.BytesOut)
			}
		}
	}
}

func TestStream_ExpectContinue(t *testing.T) {
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			http.Error(w, "no", http.StatusRequestEntityTooLarge)
			return
		}
		b, _ := io.ReadAll(r.Body) // net/http sends the 100 here
		w.Write(b)
	})})
	c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := c.response("POST"); resp.StatusCode != http.StatusContinue {
		t.Fatalf("got %s", resp.Status)
	}
	if _, body := c.send("abc").expect(200, ""); body != "abc" {
		t.Errorf("body %q", body)
	}
	c.send(get("/")).expect(200, "")

	c = w.dial().send("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := c.response("POST"); resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
		t.Errorf("got %s, close %v", resp.Status, resp.Close)
	}
}

func TestStream_EarlyHints(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, answering("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nRoost-X: 1\r\n\r\n"+ok))})
	c := w.dial().send(get("/"))
	if resp, _ := c.response("GET"); resp.StatusCode != http.StatusEarlyHints || resp.Header.Get("Link") != "</a>" || resp.Header.Get("Roost-X") != "" {
		t.Errorf("got %v", resp)
	}
	c.expect(200, "")
}

func TestStream_EachPieceAtOnce(t *testing.T) {
	next := make(chan string)
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for s := range next {
			io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	})})
	c := w.dial().send("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(resp.Body)
	for i := range 5 {
		want := fmt.Sprintf("data: %d\n", i)
		next <- want // the next one only after this was seen: nothing may be held back
		if got, err := lines.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("end: %q, %v", rest, err)
	}
}

// TestStream_BothWays: an answer that needs the request's body to go on.
func TestStream_BothWays(t *testing.T) {
	w := newWorld(t, []string{httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		rc.Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, line)
			rc.Flush()
		}
	})})
	c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(resp.Body)
	for range 3 {
		c.send("5\r\nping\n\r\n")
		if got, err := lines.ReadString('\n'); got != "ping\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	c.send("0\r\n\r\n")
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("end: %q, %v", rest, err)
	}
}

func TestStream_EarlyAnswerWhileUploading(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
		c.CloseWrite()
		io.ReadFull(c.r, make([]byte, 1000)) // and then it closes on unread data
	})})
	c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		b := make([]byte, 64<<10)
		for range 50000000 / len(b) { // all of it, whatever the answer is
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	resp, body := c.response("POST")
	if resp.StatusCode != http.StatusRequestEntityTooLarge || body != "no\n" || !resp.Close {
		t.Errorf("got %s %q", resp.Status, body)
	}
	c.Close()
	receive(t, sent)
}

func TestStream_BodyTooLarge(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) { io.Copy(io.Discard, c.r) })},
		policy(func(p *backend.Policy) { p.MaxBody = 10 }))
	w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n").expect(413, "body-too-large")
	w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n").expect(413, "body-too-large")
	c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	c.send("6\r\n world\r\n").expect(413, "body-too-large")
}

// TestStream_AppDiesInItsAnswer: whatever the framing, the client must not
// take what it got for complete.
func TestStream_AppDiesInItsAnswer(t *testing.T) {
	for name, head := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nsome",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
		"close":   "HTTP/1.1 200 OK\r\n\r\nsome",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []string{rawApp(t, func(c *client) {
				c.head()
				io.WriteString(c, head)
				c.Conn.(*net.TCPConn).SetLinger(0)
			})})
			c := w.dial().send(get("/"))
			if resp, err := http.ReadResponse(c.r, nil); err == nil {
				if b, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("a clean end after %q", b)
				}
			}
			// The app's RST may overtake its answer: then it is a 502.
			if r := w.journal.next(t); r.Error != "backend-lost" {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func TestStream_ClientGone(t *testing.T) {
	tests := []struct{ name, request, answer string }{
		{"before the answer", get("/"), ""},
		{"in a stream", get("/"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"},
		{"in its upload", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begun, told := make(chan string, 1), make(chan time.Time, 1)
			w := newWorld(t, []string{rawApp(t, func(c *client) {
				begun <- c.head()
				io.WriteString(c, tt.answer)
				io.Copy(io.Discard, c.r)
				told <- time.Now()
			})})
			c := w.dial().send(tt.request)
			receive(t, begun)
			if tt.answer != "" {
				if _, err := http.ReadResponse(c.r, nil); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			receive(t, told)
			r := w.journal.next(t)
			if want := map[bool]int{true: 200, false: 499}[tt.answer != ""]; r.Status != want || r.Error != "client-gone" {
				t.Errorf("status %d, error %q", r.Status, r.Error)
			}
		})
	}
}

func TestStream_ClientGoneWhileWaiting(t *testing.T) {
	waiting, left := make(chan struct{}), make(chan struct{})
	w := newWorld(t, nil, config(func(c *Config) {
		c.Waiter = waiterFunc(func(ctx context.Context, p *backend.Pool, _ []string) error {
			close(waiting)
			<-ctx.Done()
			close(left)
			return ctx.Err()
		})
	}))
	c := w.dial().send(get("/"))
	receive(t, waiting)
	c.Close()
	receive(t, left)
	if r := w.journal.next(t); r.Status != 499 || r.Wait <= 0 {
		t.Errorf("record %+v", r)
	}
}

func TestStream_AppIsSilent(t *testing.T) {
	quick := policy(func(p *backend.Policy) { p.Timeout = 300 * time.Millisecond })
	w := newWorld(t, []string{rawApp(t, func(c *client) { io.Copy(io.Discard, c.r) })}, quick)
	c := w.dial()
	for range 2 {
		c.send(get("/")).expect(504, "backend-timeout")
	}
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").expect(504, "backend-timeout")

	w = newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
		io.Copy(io.Discard, c.r)
	})}, quick)
	c = w.dial().send(get("/"))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a clean end after %q", b)
	}
	if r := w.journal.next(t); r.Error != "backend-timeout" || r.Status != 200 {
		t.Errorf("record %+v", r)
	}
}

// TestStream_NothingIsReadBeforeAnInstanceIsThere: no 100, and no body taken,
// while the app is cold.
func TestStream_NothingIsReadBeforeAnInstanceIsThere(t *testing.T) {
	start := make(chan struct{})
	app := httpApp(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	var w *world
	w = newWorld(t, nil, config(func(c *Config) {
		c.Waiter = waiterFunc(func(ctx context.Context, p *backend.Pool, _ []string) error {
			<-start
			w.set.Endpoints = []backend.Endpoint{{Instance: "i1", Network: "tcp", Address: app}}
			w.apply()
			return nil
		})
	}))
	c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if b, err := c.r.Peek(1); err == nil {
		t.Fatalf("answered %q before there was an instance", b)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	c.r.Reset(c.Conn)
	close(start)
	if resp, _ := c.response("POST"); resp.StatusCode != http.StatusContinue {
		t.Fatalf("got %s", resp.Status)
	}
	if _, body := c.send("abc").expect(200, ""); body != "abc" {
		t.Errorf("body %q", body)
	}
}

func TestStream_FailuresOfTheWaiter(t *testing.T) {
	f := &activator.Failure{Code: "start-failed", Message: "exit 1", Detail: "<boom>", RetryAt: time.Now().Add(90 * time.Second)}
	wait := config(func(c *Config) {
		c.Waiter = waiterFunc(func(context.Context, *backend.Pool, []string) error { return f })
	})
	w := newWorld(t, nil, wait)
	c := w.dial()
	resp, body := c.send("GET / HTTP/1.1\r\nHost: h\r\nAccept: text/html,*/*;q=0.8\r\n\r\n").expect(502, "start-failed")
	if after := resp.Header.Get("Retry-After"); after != "90" && after != "89" {
		t.Errorf("Retry-After %q", after)
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || !strings.Contains(body, "<h1>502") || strings.Contains(body, "boom") {
		t.Errorf("page %s", body)
	}
	c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp, _ := c.response("HEAD"); resp.StatusCode != http.StatusBadGateway || resp.ContentLength <= 0 {
		t.Errorf("HEAD: %v", resp)
	}

	w = newWorld(t, nil, wait, policy(func(p *backend.Policy) { p.DetailedErrors = true }))
	if _, body := w.dial().send("GET / HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n").expect(502, "start-failed"); !strings.Contains(body, "&lt;boom&gt;") {
		t.Errorf("page in development: %s", body)
	}
	if _, body := w.dial().send(get("/")).expect(502, "start-failed"); !strings.Contains(body, `\u003cboom\u003e`) {
		t.Errorf("problem in development: %s", body)
	}
}

// TestStream_NoDescriptorForAPipe: a body that cannot be spliced is copied.
func TestStream_NoDescriptorForAPipe(t *testing.T) {
	const size = 1 << 20
	down := "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		for c.head() != "" {
			if n, err := io.CopyN(io.Discard, c.r, size); err != nil {
				t.Errorf("the app got %d bytes, %v", n, err)
			}
			io.WriteString(c, down)
			c.Write(noise(size))
		}
	})})
	up := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n" + string(noise(size))
	c := w.dial()
	c.send(up).expect(200, "") // all descriptors are there from here on
	for len(pipes) > 0 {
		(<-pipes).close()
	}
	var was syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was)
	none := was
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Skip(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
	if _, body := c.send(up).expect(200, ""); body != string(noise(size)) {
		t.Errorf("got %d other bytes", len(body))
	}
}
