package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// load asks an app again and again over keep-alive connections, and counts
// every request that was not answered with 200 and every connection that broke.
// It retries nothing: a browser's retry would hide what a user loses.
type load struct {
	stop    chan struct{}
	workers sync.WaitGroup
	also    string // a Roost-Error that is as good as an answer; "": none

	mu     sync.Mutex
	ok     int
	turned int // away, with also
	cuts   int // answers that may still be cut, see mayCut
	failed []string
	dials  int
	last   map[string]int // answers by instance
	over   []int          // requests that are over, by worker
}

// startLoad sends rate requests per second in all over the given number of
// connections; every fourth is a POST with a body where posts is set.
func startLoad(h *host, name string, connections, rate int, posts bool) *load {
	return startLoadAlso(h, name, connections, rate, posts, "")
}

// startLoadAlso does so of an app that may turn requests away with a Roost-Error.
func startLoadAlso(h *host, name string, connections, rate int, posts bool, also string) *load {
	l := &load{stop: make(chan struct{}), last: map[string]int{}, also: also, over: make([]int, connections)}
	pause := time.Second * time.Duration(connections) / time.Duration(rate)
	for worker := range connections {
		l.workers.Go(func() { l.work(worker, h.url, name, pause, posts) })
	}
	return l
}

func (l *load) work(worker int, addr, name string, pause time.Duration, posts bool) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var c *client
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			c.close()
			return
		case <-tick.C:
		}
		if c == nil {
			c = l.dial(addr)
			if c == nil {
				continue
			}
		}
		if !l.ask(c, name, posts && n%4 == 0) {
			c.close()
			c = nil
		}
		l.mu.Lock()
		l.over[worker]++
		l.mu.Unlock()
	}
}

// renewed reports whether every worker has sent a request since the last time
// that it said so, and that request is over.
func (l *load) renewed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Min(l.over) < 2 { // the first may have been on its way then
		return false
	}
	clear(l.over)
	return true
}

func (l *load) dial(addr string) *client {
	c, err := dialClient(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dials++
	if err != nil {
		l.failed = append(l.failed, "dial: "+err.Error())
		return nil
	}
	return c
}

// ask sends one request and tells whether the connection may be used again.
func (l *load) ask(c *client, name string, post bool) bool {
	resp, body, err := c.ask(name, "/", post)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cuts > 0 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF)):
		l.cuts--
		return false
	case err != nil:
		l.failed = append(l.failed, fmt.Sprintf("post=%v: %v", post, err))
		return false
	case l.also != "" && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Roost-Error") == l.also:
		l.turned++
	case resp.StatusCode != http.StatusOK:
		l.failed = append(l.failed, fmt.Sprintf("post=%v: %d %s %.200s", post, resp.StatusCode, resp.Header.Get("Roost-Error"), body))
	default:
		l.ok++
		l.last[resp.Header.Get("Instance")]++
	}
	return !resp.Close
}

// mayCut says that an instance is about to be killed, whose app sends the head of an
// answer before its body: an answer that has begun is cut, one a connection.
func (l *load) mayCut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts += len(l.over)
}

// end stops the load and fails the test if anything was lost.
func (l *load) end(t testing.TB) {
	t.Helper()
	l.halt()
	if len(l.failed) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(l.failed), l.ok+len(l.failed), strings.Join(l.failed[:min(len(l.failed), 10)], "\n"))
	}
	if l.ok == 0 {
		t.Error("the load did not get a single answer")
	}
	t.Logf("load: %d answered, %d turned away, %d failed, %d connections dialled, %d instances", l.ok, l.turned, len(l.failed), l.dials, len(l.last))
}

// halt stops the load and waits for its last answers.
func (l *load) halt() {
	close(l.stop)
	l.workers.Wait()
}

// tell stops the load and has a case of the fault suite note what became of it.
func (l *load) tell(f *faultCase) {
	f.Helper()
	l.halt()
	f.count("requests", l.ok+len(l.failed))
	f.lost("requests", len(l.failed))
	for _, why := range l.failed[:min(len(l.failed), 10)] {
		f.Log(why)
	}
	if l.ok == 0 {
		f.Error("the load did not get a single answer")
	}
}

// answered returns how many requests an instance has answered.
func (l *load) answered(instance string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last[instance]
}

// total returns how many requests were answered.
func (l *load) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ok
}

// client is one plain connection to the proxy.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func dialClient(addr string) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, r: bufio.NewReader(conn)}, nil
}

func (c *client) close() {
	if c != nil {
		_ = c.conn.Close()
	}
}

func (c *client) ask(name, path string, post bool) (*http.Response, string, error) {
	_ = c.conn.SetDeadline(time.Now().Add(2 * patience))
	head := "GET " + path + " HTTP/1.1\r\nHost: " + name + ".test\r\n\r\n"
	method := http.MethodGet
	if post {
		method = http.MethodPost
		body := strings.Repeat("b", 10_000)
		head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s.test\r\nContent-Length: %d\r\n\r\n%s", path, name, len(body), body)
	}
	if _, err := io.WriteString(c.conn, head); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp, string(body), err
}
