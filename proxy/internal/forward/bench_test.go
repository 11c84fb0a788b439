package forward

import (
	"strings"
	"testing"
	"time"
)

// BenchmarkServer_Get1K is one keep-alive client, the server and a raw app in
// one process: what it says is whether the server allocates, and what it
// costs beside what it cost before.
func BenchmarkServer_Get1K(b *testing.B) { benchmarkGet1K(b) }

// BenchmarkServer_Get1KOverTLS has the client's part of TLS in it as well.
func BenchmarkServer_Get1KOverTLS(b *testing.B) { benchmarkGet1K(b, withTLS(nil)) }

func benchmarkGet1K(b *testing.B, opts ...option) {
	reply := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	w := newWorld(b, []string{rawApp(b, func(c *client) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil { // a head is one write
				return
			}
			c.Write(reply)
		}
	})}, append(opts, config(func(c *Config) { c.Observer = nil }))...)
	c := w.dial()
	c.SetDeadline(time.Time{})
	r := c.r
	request := []byte(get("/"))
	var head []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		c.Write(request)
		for head = head[:0]; string(head) != "\r\n"; {
			if head, err = r.ReadSlice('\n'); err != nil {
				b.Fatal(err)
			}
		}
		r.Discard(1024)
	}
}
