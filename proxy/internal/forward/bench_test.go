package forward

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

// BenchmarkServer_Get1K is one keep-alive client, the server and a raw app in
// one process: what it says is whether the server allocates, and what it
// costs beside what it cost before.
func BenchmarkServer_Get1K(b *testing.B) {
	reply := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	w := newWorld(b, []string{rawApp(b, func(c *client) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil { // a head is one write
				return
			}
			c.Write(reply)
		}
	})}, config(func(c *Config) { c.Observer = nil }))
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	request := []byte(get("/"))
	var head []byte
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
