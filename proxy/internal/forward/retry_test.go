package forward

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
)

// deadPort is an address where nobody listens.
func deadPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRetry_DeadPortThenAnother(t *testing.T) {
	var count atomic.Int32
	live := rawApp(t, func(c *client) {
		c.head()
		b := make([]byte, 5)
		io.ReadFull(c.r, b)
		count.Add(1)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n%s", b)
	})
	w := newWorld(t, []string{deadPort(t), live, deadPort(t)})
	for range 4 {
		c := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
		if _, body := c.expect(200, ""); body != "hello" {
			t.Errorf("body %q", body)
		}
		if r := w.journal.next(t); r.Instance != "i2" || r.Error != "" || r.Reason != "" {
			t.Errorf("record %+v", r)
		}
	}
	if n := count.Load(); n != 4 {
		t.Errorf("executed %d times", n)
	}
}

func TestRetry_ActivatorIsToldOnce(t *testing.T) {
	var calls atomic.Int32
	w := newWorld(t, []string{deadPort(t), deadPort(t)}, config(func(c *Config) {
		c.Waiter = waiterFunc(func(_ context.Context, _ *backend.Pool, failed []string) error {
			calls.Add(1)
			slices.Sort(failed)
			if !slices.Equal(failed, []string{"i1", "i2"}) {
				t.Errorf("failed instances %v", failed)
			}
			return nil // "they are fine": but they are not
		})
	}))
	w.dial().send(get("/")).expect(502, "backend-lost")
	if n := calls.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if l := w.registry.Loads()[0]; l.InFlight != 0 {
		t.Errorf("load %+v", l)
	}
}

// closing is an app that answers one request on each connection as if it kept
// it open, then closes it at the next without an answer.
func closing(count *atomic.Int32) func(*client) {
	return func(c *client) {
		c.head()
		count.Add(1)
		io.WriteString(c, ok)
		c.head() // takes a second request, and dies with it
		count.Add(1)
	}
}

func TestRetry_ReusedConnectionClosedByTheApp(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		t.Run(method, func(t *testing.T) {
			var count atomic.Int32
			w := newWorld(t, []string{rawApp(t, closing(&count))})
			c := w.dial()
			for i := range 3 {
				c.send(method + " / HTTP/1.1\r\nHost: h\r\n\r\n")
				if resp, _ := c.response(method); resp.StatusCode != http.StatusOK {
					t.Errorf("request %d: %s", i, resp.Status)
				}
			}
		})
	}
}

func TestRetry_PostIsNeverExecutedTwice(t *testing.T) {
	var count atomic.Int32
	w := newWorld(t, []string{rawApp(t, closing(&count))})
	c := w.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\n\r\n").expect(200, "")
	c.send("POST / HTTP/1.1\r\nHost: h\r\n\r\n").expect(502, "backend-lost")
	if n := count.Load(); n != 2 {
		t.Errorf("executed %d times", n)
	}
}

// TestRetry_StaleConnectionIsNoticed: the app has closed an idle connection;
// a POST must not be sent on it.
func TestRetry_StaleConnectionIsNoticed(t *testing.T) {
	var count atomic.Int32
	closed := make(chan struct{}, 4)
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		count.Add(1)
		io.WriteString(c, ok)
		c.Close()
		closed <- struct{}{}
	})})
	c := w.dial()
	for range 3 {
		c.send("POST / HTTP/1.1\r\nHost: h\r\n\r\n").expect(200, "")
		receive(t, closed)
	}
	if n := count.Load(); n != 3 {
		t.Errorf("executed %d times", n)
	}
}

func TestRetry_AppReadsPostAndDies(t *testing.T) {
	var count atomic.Int32
	app := rawApp(t, func(c *client) {
		c.head()
		io.ReadFull(c.r, make([]byte, 3))
		count.Add(1)
	})
	w := newWorld(t, []string{app, app})
	w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").expect(502, "backend-lost")
	if n := count.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

// TestRetry_InstanceDiesUnderLoad: of many GETs none fails when one of two
// instances is gone from one moment to the next, its set being told later.
func TestRetry_InstanceDiesUnderLoad(t *testing.T) {
	serve := func() (string, *http.Server, *sync.WaitGroup) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })}
		var wg sync.WaitGroup
		wg.Go(func() { srv.Serve(l) })
		return l.Addr().String(), srv, &wg
	}
	a, dies, wgA := serve()
	b, lives, wgB := serve()
	defer func() { dies.Close(); lives.Close(); wgA.Wait(); wgB.Wait() }()
	w := newWorld(t, []string{a, b})

	const clients, before, after = 16, 50, 200
	var warm, done sync.WaitGroup
	warm.Add(clients)
	for range clients {
		done.Go(func() {
			c := w.dial()
			for i := range before + after {
				if i == before {
					warm.Done()
				}
				c.SetDeadline(time.Now().Add(patience)) // of each request, however slow the machine
				io.WriteString(c.Conn, get("/"))
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("request %d: %v, %v", i, resp, err)
					return
				}
				io.Copy(io.Discard, resp.Body)
			}
		})
	}
	warm.Wait()
	dies.Close()
	done.Wait()
}

// TestRetry_BytesThatNobodyAskedFor: what an app sends after the head of
// an answer that has no body is nobody's answer.
func TestRetry_BytesThatNobodyAskedFor(t *testing.T) {
	sent := make(chan struct{})
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		for {
			switch method, _, _ := strings.Cut(c.head(), " "); method {
			case "HEAD":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
				<-sent
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
				sent <- struct{}{}
			case "GET":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
			default:
				return
			}
		}
	})})
	c := w.dial()
	c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").response("HEAD")
	sent <- struct{}{}
	<-sent
	if _, body := c.send(get("/")).expect(200, ""); body != "right" {
		t.Errorf("body %q", body)
	}
}
