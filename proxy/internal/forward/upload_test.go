package forward

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestUpload_AnswerToTheLastPiece: an app may answer as soon as it has the end of a
// body, before the upload knows that it is over. That costs no connection.
func TestUpload_AnswerToTheLastPiece(t *testing.T) {
	for _, n := range []int{3, spliceFrom + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			begun := make(chan struct{}, 1)
			var conns atomic.Int32
			w := newWorld(t, []string{rawApp(t, func(c *client) {
				conns.Add(1)
				for {
					c.SetDeadline(time.Now().Add(patience))
					req, err := http.ReadRequest(c.r)
					if err != nil {
						return
					}
					begun <- struct{}{}
					io.CopyN(io.Discard, req.Body, int64(n))
					io.WriteString(c, ok)
				}
			})}, config(func(c *Config) { c.Observer = nil }))
			c := w.dial()
			body := strings.Repeat("x", n)
			for i := range 1000 {
				c.SetDeadline(time.Now().Add(patience)) // each exchange has its own, however slow the machine
				c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", n))
				receive(t, begun)
				if resp, _ := c.send(body).expect(200, ""); resp.Close {
					t.Fatalf("request %d has cost the client its connection", i)
				}
			}
			if n := conns.Load(); n != 1 {
				t.Errorf("%d connections to the app", n)
			}
		})
	}
}
