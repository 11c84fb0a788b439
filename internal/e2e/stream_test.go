package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// wire is a connection to the proxy on which a test writes its own bytes.
func (h *host) wire() *client {
	h.Helper()
	c, err := dialClient(h.url)
	if err != nil {
		h.Fatal(err)
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	h.Cleanup(c.close)
	return c
}

func (c *client) send(t testing.TB, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(c.conn, strings.ReplaceAll(format, "\n", "\r\n"), args...); err != nil {
		t.Fatal(err)
	}
}

// receive reads the answer to a request of that method, with its body.
func (c *client) receive(t testing.TB, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// status reads one answer's first line, and no more of it.
func (c *client) status(t testing.TB) string {
	t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func TestStream_EventsAreFlushedAndAnAbortIsTold(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	c := h.wire()
	c.send(t, "GET /sse HTTP/1.1\nHost: web.test\nAccept: text/event-stream\n\n")
	for line := ""; line != "data: one\r\n" && line != "data: one\n"; {
		var err error
		if line, err = c.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	c.close() // the answer has not ended
	h.eventually("the app is told that its client left", func() bool { return h.get("web", "/gone").body == "1\n" })
	// One whose answer has not begun, too.
	c = h.wire()
	c.send(t, "GET /sleep?for=10m HTTP/1.1\nHost: web.test\n\n")
	h.eventually("the app has the request", func() bool { return h.get("web", "/came").body == "1\n" })
	c.close()
	h.eventually("the app is told of this one", func() bool { return h.get("web", "/gone").body == "2\n" })
	h.eventually("the access log tells both", func() bool {
		b, err := os.ReadFile(filepath.Join(h.dir, "access.log"))
		return err == nil && strings.Count(string(b), `"status":499`) >= 1 && strings.Count(string(b), `/sse`) == 1
	})
}

func TestStream_ExpectContinue(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Requests = &roostv1.Requests{MaxBody: 1000}
	h.apply(spec)

	c := h.wire() // the first request: 100 is not sent before somebody reads the body
	c.send(t, "POST /sum HTTP/1.1\nHost: web.test\nContent-Length: 4\nExpect: 100-continue\n\n")
	if got := c.status(t); got != "HTTP/1.1 100 Continue" {
		t.Fatalf("got %q", got)
	}
	_ = c.status(t) // the empty line
	c.send(t, "body")
	if resp, body := c.receive(t, http.MethodPost); resp.StatusCode != http.StatusOK || body != sumOf([]byte("body")) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}

	for path, tt := range map[string]struct{ length, status int }{
		"/refuse": {4, http.StatusForbidden}, "/sum": {1001, http.StatusRequestEntityTooLarge},
	} {
		c := h.wire()
		c.send(t, "POST %s HTTP/1.1\nHost: web.test\nContent-Length: %d\nExpect: 100-continue\n\n", path, tt.length)
		if resp, _ := c.receive(t, http.MethodPost); resp.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d and no 100", path, resp.StatusCode, tt.status)
		}
	}
}

func TestStream_BodyTooLargeIsRefusedEarly(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Requests = &roostv1.Requests{MaxBody: 1000}
	h.apply(spec)
	bodies := map[string]string{
		"by its length": "Content-Length: 1001\n\n", // and nothing of it is sent
		"by its chunks": "Transfer-Encoding: chunked\n\n3e9\n" + strings.Repeat("x", 1001) + "\n",
	}
	for name, rest := range bodies {
		c := h.wire()
		c.send(t, "POST /sum HTTP/1.1\nHost: web.test\n%s", strings.ReplaceAll(rest, "\n", "\r\n"))
		resp, _ := c.receive(t, http.MethodPost)
		if got := resp.Header.Get("Roost-Error"); resp.StatusCode != http.StatusRequestEntityTooLarge || got != "body-too-large" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, got)
		}
	}
	c := h.wire()
	c.send(t, "POST /sum HTTP/1.1\nHost: web.test\nContent-Length: 1000\n\n%s", strings.Repeat("x", 1000))
	if resp, body := c.receive(t, http.MethodPost); resp.StatusCode != http.StatusOK {
		t.Errorf("exactly max_body: %d %s", resp.StatusCode, body)
	}
}

func TestStream_HeadPipeliningAndOldClients(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	c := h.wire()

	c.send(t, "HEAD /random?n=5000&length HTTP/1.1\nHost: web.test\n\n")
	if resp, body := c.receive(t, http.MethodHead); resp.StatusCode != http.StatusOK || resp.ContentLength != 5000 || body != "" {
		t.Errorf("HEAD: %d, length %d, body %q", resp.StatusCode, resp.ContentLength, body)
	}

	var all strings.Builder // requests of every kind in one write, on the same connection
	for i := range 10 {
		fmt.Fprintf(&all, "GET /headers?%d HTTP/1.1\nHost: web.test\n\n", i)
		fmt.Fprintf(&all, "POST /sum HTTP/1.1\nHost: web.test\nContent-Length: 1\n\n%d", i)
	}
	c.send(t, "%s", strings.ReplaceAll(all.String(), "\n", "\r\n"))
	for i := range 10 {
		if _, body := c.receive(t, http.MethodGet); !contains(body, fmt.Sprintf("/headers?%d\"", i)) {
			t.Errorf("answer %d is %s", i, body)
		}
		if _, body := c.receive(t, http.MethodPost); body != sumOf(fmt.Append(nil, i)) {
			t.Errorf("answer to POST %d is %s", i, body)
		}
	}

	c.send(t, "GET /random?n=5000 HTTP/1.0\nHost: web.test\n\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) != 5000 || len(resp.TransferEncoding) > 0 {
		t.Errorf("HTTP/1.0: %d bytes, transfer coding %v, %v", len(body), resp.TransferEncoding, err)
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("after HTTP/1.0 the connection is not closed: %v", err)
	}
}

func TestStream_EarlyHintsComeFirst(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	c := h.wire()
	c.send(t, "GET /early HTTP/1.1\nHost: web.test\n\n")
	hints, _ := c.receive(t, http.MethodGet)
	if hints.StatusCode != http.StatusEarlyHints || hints.Header.Get("Link") == "" {
		t.Errorf("first %v", hints)
	}
	if resp, body := c.receive(t, http.MethodGet); resp.StatusCode != http.StatusOK || body != "late" {
		t.Errorf("then %d %q", resp.StatusCode, body)
	}
}

// A body that is answered while it is sent, in chunks both ways, with a trailer
// each way.
func TestStream_ChunksAndTrailersBothWays(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	c := h.wire()
	c.send(t, "POST /echo HTTP/1.1\nHost: web.test\nTransfer-Encoding: chunked\nTrailer: Sent\nTE: trailers\n\n")
	resp, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodPost}) // before a byte of the body
	if err != nil {
		t.Fatal(err)
	}
	var sent []byte
	for i := range 20 {
		piece := fmt.Sprintf("piece %d;", i)
		sent = append(sent, piece...)
		c.send(t, "%x\n%s\n", len(piece), piece)
		back := make([]byte, len(piece))
		if _, err := io.ReadFull(resp.Body, back); err != nil || string(back) != piece {
			t.Fatalf("piece %d came back as %q, %v", i, back, err)
		}
	}
	c.send(t, "0\nSent: yes\n\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Fatalf("%q %v", rest, err)
	}
	if got := resp.Trailer.Get("Sum"); got != sumOf(sent) {
		t.Errorf("trailer %v", resp.Trailer)
	}
	if got := resp.Trailer.Get("Sent"); got != "yes" {
		t.Errorf("the app saw the trailer %q", got)
	}
	if resp.Close { // an answer that began before the request's end may end the connection, but says so
		return
	}
	c.send(t, "GET / HTTP/1.1\nHost: web.test\n\n")
	if resp, _ := c.receive(t, http.MethodGet); resp.StatusCode != http.StatusOK {
		t.Errorf("afterwards %d", resp.StatusCode)
	}
}

func TestStream_BigBodiesArriveWhole(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	const size = 50 << 20
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	want := sumOf(body)

	for name, framing := range map[string]string{"length": fmt.Sprintf("Content-Length: %d", size), "chunked": "Transfer-Encoding: chunked"} {
		c := h.wire()
		c.send(t, "POST /sum HTTP/1.1\nHost: web.test\n%s\n\n", framing)
		var err error
		if name == "length" {
			_, err = c.conn.Write(body)
		} else {
			err = writeChunks(c.conn, body)
		}
		if err != nil {
			t.Fatal(err)
		}
		if resp, got := c.receive(t, http.MethodPost); resp.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: %d %s", name, resp.StatusCode, got)
		} else if resp.Close { // an app may answer before it has read the end of the last chunk
			c = h.wire()
		}
		query := map[string]string{"length": "&length", "chunked": ""}[name]
		c.send(t, "GET /random?n=%d%s HTTP/1.1\nHost: web.test\n\n", size, query)
		resp, back := c.receive(t, http.MethodGet)
		if sumOf([]byte(back)) != want {
			t.Errorf("%s: %d bytes of the answer are others", name, len(back))
		}
		if name == "chunked" && resp.Trailer.Get("Sum") != want {
			t.Errorf("trailer %v", resp.Trailer)
		}
	}
}

// writeChunks sends body in chunks of sizes that divide nothing.
func writeChunks(w io.Writer, body []byte) error {
	b := bufio.NewWriterSize(w, 1<<16)
	for piece := range slices.Chunk(body, 10007) {
		fmt.Fprintf(b, "%x\r\n", len(piece))
		_, _ = b.Write(piece)
		fmt.Fprint(b, "\r\n")
	}
	fmt.Fprint(b, "0\r\n\r\n")
	return b.Flush()
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// What an app began and cannot finish is cut, so that nobody takes it for whole.
func TestStream_DeadAppsAnswerIsCut(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"length": "/random?n=1000000000&length", "chunked": "/random?n=1000000000"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.apply(h.spec("web"))
			c := h.wire()
			c.send(t, "GET %s HTTP/1.1\nHost: web.test\n\n", path)
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			kill(t, h.pids("web")[0])
			if n, err := io.Copy(io.Discard, resp.Body); err == nil || n >= 1000000000 {
				t.Errorf("%d bytes and a clean end", n)
			}
		})
	}
}

// The bytes that arrive are those of the answer, whatever is going on beside.
func TestStream_AnswersAreNotMixed(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(t, http.StatusOK)
	want := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(want)
	done := make(chan error, 8)
	for i := range cap(done) {
		go func() { done <- ask100(h.url, i, want) }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// ask100 asks for beginnings of want, of many lengths, on one connection.
func ask100(addr string, seed int, want []byte) error {
	c, err := dialClient(addr)
	if err != nil {
		return err
	}
	defer c.close()
	for n := range 100 {
		size := (seed*7919 + n*n*31) % len(want)
		_, body, err := c.ask("web", fmt.Sprintf("/random?n=%d", size), false)
		if err != nil || !bytes.Equal([]byte(body), want[:size]) {
			return fmt.Errorf("request %d of client %d: %d bytes instead of %d, %w", n, seed, len(body), size, err)
		}
	}
	return nil
}
