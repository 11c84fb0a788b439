package forward

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/roostd/roost/proxy/internal/route"
)

func tlsRoutes(w *world) {
	w.routes(route.Rule{Host: "r", Path: "/", HTTPS: route.Redirect}, route.Rule{Host: "o", Path: "/", HTTPS: route.Only}, route.Rule{Path: "/"})
}

func redirectWorld(t *testing.T, opts ...option) *world {
	app := httpApp(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "from the app") })
	w := newWorld(t, []string{app}, opts...)
	tlsRoutes(w)
	return w
}

func on8443() option { return config(func(c *Config) { c.HTTPSPort = "8443" }) }

func TestRedirect_Location(t *testing.T) {
	tests := []struct{ port, target, host, want string }{
		{"8443", "/a/b%2Fc?x=%20&y", "r", "https://r:8443/a/b%2Fc?x=%20&y"},
		{"443", "/", "r:8080", "https://r/"},
		{"", "//x?", "R:80", "https://R//x?"},
		{"8443", "/a/../b;c", "r.", "https://r.:8443/b;c"},
		{"8443", "http://r:1/abs", "h", "https://r:8443/abs"},
		{"8443", "*", "r", "https://r:8443/"},
	}
	for _, tt := range tests {
		w := redirectWorld(t, config(func(c *Config) { c.HTTPSPort = tt.port }))
		method := "GET"
		if tt.target == "*" {
			method = "OPTIONS"
		}
		resp, _ := w.dial().send(method+" "+tt.target+" HTTP/1.1\r\nHost: "+tt.host+"\r\n\r\n").expect(308, "")
		if got := resp.Header.Get("Location"); got != tt.want {
			t.Errorf("%s of %s: %q, want %q", tt.target, tt.host, got, tt.want)
		}
		if r := w.journal.next(t); r.Status != 308 || r.Error != "" || r.App != "a" || r.Instance != "" {
			t.Errorf("record %+v", r)
		}
	}
}

// TestRedirect_KeepsTheConnection: also behind a body that nobody wanted.
func TestRedirect_KeepsTheConnection(t *testing.T) {
	w := redirectWorld(t, on8443())
	c := w.dial()
	for range 2 {
		resp, _ := c.send("POST /a HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\nabc").expect(308, "")
		if resp.Close || resp.ContentLength != 0 {
			t.Errorf("%+v", resp)
		}
	}
	c.send(get("/")).expect(200, "")
	resp, _ := w.dial().send("GET /a HTTP/1.0\r\n\r\n").expect(200, "")
	if !resp.Close {
		t.Error("HTTP/1.0 without keep-alive goes on")
	}
	// One without a host is sent to the address that it has connected to.
	w.routes(route.Rule{Path: "/", HTTPS: route.Redirect})
	resp, _ = w.dial().send("GET /a HTTP/1.0\r\n\r\n").expect(308, "")
	if got := resp.Header.Get("Location"); got != "https://127.0.0.1:8443/a" {
		t.Errorf("Location %q", got)
	}
}

func TestRedirect_StartsNothing(t *testing.T) {
	w := newWorld(t, nil, on8443())
	tlsRoutes(w)
	w.dial().send("GET / HTTP/1.1\r\nHost: r\r\n\r\n").expect(308, "")
	w.dial().send(get("/")).expect(502, "backend-lost") // the waiter was asked
}

func TestRedirect_ServesChallenges(t *testing.T) {
	w := redirectWorld(t, on8443())
	at := func(host, path string, status int, code string) {
		t.Helper()
		w.dial().send("GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n").expect(status, code)
	}
	at("r", "/.well-known/acme-challenge/token", 200, "")
	at("r", "/.well-known/acme-challenge/../other", 308, "")
	at("r", "/.well-known/acme-challenges", 308, "")
	at("r", "/x/.well-known/acme-challenge/token", 308, "")
	at("o", "/.well-known/acme-challenge/token", 404, "no-route")
}

func TestOnly_IsNotThereInClearText(t *testing.T) {
	w := redirectWorld(t, on8443())
	w.dial().send("GET / HTTP/1.1\r\nHost: o\r\n\r\n").expect(404, "no-route")
	if r := w.journal.next(t); r.App != "" || r.Error != "no-route" {
		t.Errorf("record %+v", r)
	}
}

func TestHTTPS_OverTLSAllIsServed(t *testing.T) {
	overTLS = true
	defer func() { overTLS = false }()
	w := redirectWorld(t, on8443())
	for _, host := range []string{"r", "o", "h"} {
		w.dial().send("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n").expect(200, "")
	}
}

// TestHTTPS_BehindAProxy: what a trusted one says of the client's connection
// counts, what others say does not.
func TestHTTPS_BehindAProxy(t *testing.T) {
	ask := func(w *world, host, proto string, status int) {
		t.Helper()
		resp, _ := w.dial().send("GET / HTTP/1.1\r\nHost: " + host + "\r\nX-Forwarded-Proto: " + proto + "\r\n\r\n").response("GET")
		if resp.StatusCode != status {
			t.Errorf("%s, %s: %s, want %d", host, proto, resp.Status, status)
		}
	}
	w := redirectWorld(t, on8443(), trusting())
	ask(w, "r", "https", 200)
	ask(w, "r", "HTTPS, http", 200)
	ask(w, "r", "http", 308)
	ask(w, "r", "http, https", 308)
	ask(w, "o", "https", 200)
	ask(w, "o", "http", 404)
	w = redirectWorld(t, on8443())
	ask(w, "r", "https", 308)
	ask(w, "o", "https", 404)
}

func TestConn_OwnHost(t *testing.T) {
	for want, a := range map[string]net.Addr{
		"127.0.0.1": &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80},
		"[::1]":     &net.TCPAddr{IP: net.IPv6loopback, Port: 80},
		"localhost": &net.UnixAddr{},
	} {
		c := conn{sock: sock{nc: addressed{addr: a}}}
		if got := c.ownHost(); got != want {
			t.Errorf("%v: %q, want %q", a, got, want)
		}
	}
}

type addressed struct {
	net.Conn
	addr net.Addr
}

func (a addressed) LocalAddr() net.Addr { return a.addr }
