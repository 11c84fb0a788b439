package forward

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/roostd/roost/proxy/internal/route"
)

// echo is an app that answers with the head it got as the body.
func echo(t testing.TB, fields string) string {
	return rawApp(t, func(c *client) {
		if h := c.head(); h != "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n"+fields+"Connection: close\r\n\r\n"+h)
		}
	})
}

// fields returns the values of a field in a raw head.
func fields(head, name string) (values []string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		n, v, ok := strings.Cut(line, ": ")
		if ok && strings.EqualFold(n, name) {
			values = append(values, v)
		}
	}
	return values
}

func wantFields(t *testing.T, head string, want map[string][]string) {
	t.Helper()
	for name, values := range want {
		if got := fields(head, name); !slices.Equal(got, values) {
			t.Errorf("%s: got %q, want %q", name, got, values)
		}
	}
}

const spoofed = "X-Forwarded-For: 6.6.6.6, 1.1.1.1\r\nX_Forwarded_For: 6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n" +
	"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 6\r\nX-Forwarded-Prefix: /evil\r\nX-Request-Id: given\r\n" +
	"X-Forwarded-Ssl: on\r\nX-Forwarded-Scheme: https\r\nX_Forwarded_User: root\r\nFront-End-Https: on\r\nX-Url-Scheme: https\r\n"

func TestHeaders_UntrustedPeer(t *testing.T) {
	var warned atomic.Int32
	w := newWorld(t, []string{echo(t, "")}, config(func(c *Config) {
		c.Warn = func(msg string, kv ...any) {
			if slices.Contains(kv, any("peer")) {
				warned.Add(1)
			}
		}
	}))
	c := w.dial()
	var head string
	for range 2 {
		_, head = c.send("GET / HTTP/1.1\r\nHost: h:1\r\n"+spoofed+"\r\n").expect(200, "")
	}
	port := w.addr[strings.LastIndexByte(w.addr, ':')+1:]
	wantFields(t, head, map[string][]string{
		"Host": {"h:1"}, "X-Forwarded-For": {"127.0.0.1"}, "X_Forwarded_For": nil, "X-Real-Ip": nil, "Forwarded": nil,
		"X-Forwarded-Ssl": nil, "X-Forwarded-Scheme": nil, "X_Forwarded_User": nil, "Front-End-Https": nil, "X-Url-Scheme": nil,
		"X-Forwarded-Proto": {strings.TrimSuffix(w.url("http"), "://"+w.addr)}, "X-Forwarded-Host": {"h:1"}, "X-Forwarded-Port": {port}, "X-Forwarded-Prefix": nil,
		"Roost-Token": {"secret"},
	})
	if id := fields(head, "X-Request-Id"); len(id) != 1 || len(id[0]) != 32 {
		t.Errorf("X-Request-Id %q", id)
	}
	if n := warned.Load(); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

func TestHeaders_TrustedPeer(t *testing.T) {
	w := newWorld(t, []string{echo(t, "")}, trusting())
	_, head := w.dial().send("GET / HTTP/1.1\r\nHost: h\r\n"+spoofed+"\r\n").expect(200, "")
	wantFields(t, head, map[string][]string{
		"X-Forwarded-For": {"6.6.6.6, 1.1.1.1, 127.0.0.1"}, "X-Real-Ip": {"6.6.6.6"}, "Forwarded": {"for=6.6.6.6"},
		"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Port": {"6"}, "X-Forwarded-Prefix": {"/evil"},
		"X-Request-Id": {"given"}, "X_Forwarded_For": nil, "X_Forwarded_User": nil,
		"X-Forwarded-Ssl": {"on"}, "X-Forwarded-Scheme": {"https"}, "Front-End-Https": {"on"}, "X-Url-Scheme": {"https"},
	})
	if r := w.journal.next(t); r.Client != "1.1.1.1" || string(r.RequestID) != "given" {
		t.Errorf("record: client %s, id %s", r.Client, r.RequestID)
	}
}

func TestHeaders_ReservedOnesAreDropped(t *testing.T) {
	w := newWorld(t, []string{echo(t, "Roost-Error: fake\r\nroost_x: 1\r\nX-App: 1\r\n")}, trusting())
	resp, head := w.dial().send("GET / HTTP/1.1\r\nHost: h\r\nrOOst-token: x\r\nROOST_Token: x\r\nMs-AspNetCore-Token: x\r\nMS_ASPNETCORE_TOKEN: x\r\nRoosting: y\r\n\r\n").response("GET")
	wantFields(t, head, map[string][]string{"Roost-Token": {"secret"}, "ROOST_Token": nil, "MS-ASPNETCORE-TOKEN": nil, "MS_ASPNETCORE_TOKEN": nil, "Roosting": {"y"}})
	if resp.Header.Get("Roost-Error") != "" || resp.Header.Get("Roost_x") != "" || resp.Header.Get("X-App") != "1" {
		t.Errorf("response %v", resp.Header)
	}
}

func TestHeaders_ConnectionCannotRemoveOurs(t *testing.T) {
	for _, o := range [][]option{nil, {trusting()}} {
		w := newWorld(t, []string{echo(t, "")}, o...)
		_, head := w.dial().send("POST / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Forwarded-For, Content-Length, Host, X-Mine, x-forwarded-proto, Roost-Token\r\n" +
			"Content-Length: 1\r\nX-Mine: 1\r\nX-Forwarded-Proto: https\r\nX-Other: 1\r\n\r\na").response("POST")
		wantFields(t, head, map[string][]string{"Host": {"h"}, "X-Forwarded-For": {"127.0.0.1"}, "Content-Length": {"1"},
			"X-Mine": nil, "X-Other": {"1"}, "X-Forwarded-Proto": {"http"}, "Roost-Token": {"secret"}, "Connection": nil})
	}
}

func TestHeaders_HopByHop(t *testing.T) {
	w := newWorld(t, []string{echo(t, "Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Hop: 1\r\nConnection: X-Hop\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n")})
	resp, head := w.dial().send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n" +
		"Keep-Alive: x\r\nTE: trailers, gzip\r\nProxy-Authorization: x\r\nAccept-Encoding: gzip\r\ntraceparent: 00-1-2-01\r\n\r\n").response("GET")
	wantFields(t, head, map[string][]string{"Upgrade": nil, "HTTP2-Settings": nil, "Keep-Alive": nil, "Proxy-Authorization": nil,
		"TE": {"trailers"}, "Connection": {"TE"}, "User-Agent": nil, "Accept-Encoding": {"gzip"}, "traceparent": {"00-1-2-01"}})
	for _, name := range []string{"Keep-Alive", "Proxy-Connection", "Upgrade", "X-Hop", "Connection"} {
		if v := resp.Header.Get(name); v != "" {
			t.Errorf("%s: %s reached the client", name, v)
		}
	}
	if got := resp.Header["Set-Cookie"]; !slices.Equal(got, []string{"a=1", "b=2"}) {
		t.Errorf("Set-Cookie %q", got)
	}
}

func TestPath_Forwarded(t *testing.T) {
	tests := []struct{ send, want string }{
		{"/a/./b/../c", "/a/c"},
		{"/a/%2e%2E/c/", "/c/"},
		{"/a/b/..", "/a/"},
		{"//a//b", "//a//b"},
		{"/A%2Fb%2f", "/A%2Fb%2f"},
		{"/?a=1;b=2&c=%zz", "/?a=1;b=2&c=%zz"},
		{"/x?../..|{}", "/x?../..|{}"},
		{"/..a/.b/c..", "/..a/.b/c.."},
	}
	w := newWorld(t, []string{echo(t, "")})
	c := w.dial()
	for _, tt := range tests {
		_, head := c.send(get(tt.send)).expect(200, "")
		if got := strings.Fields(head)[1]; got != tt.want {
			t.Errorf("%s forwarded as %s, want %s", tt.send, got, tt.want)
		}
	}
}

func TestPath_StripAndRoute(t *testing.T) {
	w := newWorld(t, []string{echo(t, "")})
	w.routes(route.Rule{Path: "/app", StripPath: true})
	tests := []struct{ send, want string }{
		{"/app", "/"}, {"/app/", "/"}, {"/app/x?y", "/x?y"}, {"/app?y", "/?y"}, {"/app//x", "//x"}, {"/z/../app/x", "/x"},
	}
	c := w.dial()
	for _, tt := range tests {
		_, head := c.send(get(tt.send)).expect(200, "")
		if got := strings.Fields(head)[1]; got != tt.want {
			t.Errorf("%s forwarded as %s, want %s", tt.send, got, tt.want)
		}
		wantFields(t, head, map[string][]string{"X-Forwarded-Prefix": {"/app"}})
	}
	for _, p := range []string{"/apple", "/app/../admin", "/app/%2e%2e/admin", "//app", "/App", "/"} {
		c.send(get(p)).expect(404, "no-route")
	}
}

// zoned is a connection from a link-local address.
type zoned struct{ net.Conn }

func (zoned) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}
}

func TestHeaders_LinkLocalPeer(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	s := NewServer(Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("fe80::/10")}})
	c := s.newConn(&group{sweep: newSweeper(&s.cfg.Limits, s.ms)}, zoned{near})
	if c.ip != "fe80::1" || !c.trusted {
		t.Errorf("client %q, trusted %v", c.ip, c.trusted)
	}
}

const spoofedModule = "MS-ASPNETCORE-TOKEN: guess\r\nms_aspnetcore_winauthtoken: 1\r\nX-Original-For: 6.6.6.6\r\nx_original_proto: https\r\n"

func TestHeaders_Module(t *testing.T) {
	for name, o := range map[string]option{"untrusted": config(func(*Config) {}), "trusted": trusting()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []string{echo(t, "")}, o, func(w *world) { w.set.Endpoints[0].Module = true })
			c := w.dial()
			_, head := c.send("GET / HTTP/1.1\r\nHost: h\r\n"+spoofedModule+"\r\n").expect(200, "")
			wantFields(t, head, map[string][]string{
				"MS-ASPNETCORE-TOKEN": {"secret"}, "Roost-Token": {"secret"}, "ms_aspnetcore_winauthtoken": nil,
				"X-Forwarded-For": {c.LocalAddr().String()}, "X-Original-For": nil, "x_original_proto": nil,
			})
		})
	}
}

func TestHeaders_ModuleFieldsOfOtherApps(t *testing.T) {
	w := newWorld(t, []string{echo(t, "")})
	_, head := w.dial().send("GET / HTTP/1.1\r\nHost: h\r\n"+spoofedModule+"\r\n").expect(200, "")
	wantFields(t, head, map[string][]string{
		"MS-ASPNETCORE-TOKEN": nil, "ms_aspnetcore_winauthtoken": nil, "X-Forwarded-For": {"127.0.0.1"},
		"X-Original-For": {"6.6.6.6"}, "x_original_proto": {"https"},
	})
}

func TestAppendClient_NamesThePortToTheModulesApps(t *testing.T) {
	for client, want := range map[string]string{"10.1.2.3": "10.1.2.3:5555", "2001:db8::1": "[2001:db8::1]:5555"} {
		c := &conn{client: netip.MustParseAddr(client), ip: client, from: 5555}
		if got := string(c.appendClient(nil, true)); got != want {
			t.Errorf("%s: %q, want %q", client, got, want)
		}
		buf := make([]byte, 0, 64)
		if n := testing.AllocsPerRun(10, func() { buf = c.appendClient(buf[:0], true) }); n != 0 {
			t.Errorf("%s: %v allocations", client, n)
		}
		if got := string(c.appendClient(nil, false)); got != client {
			t.Errorf("%s without the module: %q", client, got)
		}
	}
}
