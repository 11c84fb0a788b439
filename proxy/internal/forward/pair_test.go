package forward

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// authState is what an authenticating app knows of one of its connections.
type authState struct {
	id    int
	nonce string
	user  string
}

type authKey struct{}

// authApp is an app that authenticates its connections: by three steps, as NTLM
// does, or by one, as Kerberos does. It answers with the user and the number of
// the connection.
type authApp struct {
	addr   string
	next   atomic.Int32
	wrong  atomic.Int32 // steps that came on a connection that knew nothing of them
	conns  chan net.Conn
	closed chan net.Conn
}

func token(kind byte, text string) string {
	return base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00" + string(kind) + text))
}

// kerberos is credentials that say all at once.
func kerberos(user string) string {
	return "Negotiate " + base64.StdEncoding.EncodeToString([]byte("\x60\x03"+user))
}

func newAuthApp(t testing.TB) *authApp {
	a := &authApp{conns: make(chan net.Conn, 256), closed: make(chan net.Conn, 256)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: a,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			a.conns <- c
			return context.WithValue(ctx, authKey{}, &authState{id: int(a.next.Add(1))})
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				a.closed <- c
			}
		},
	}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	a.addr = l.Addr().String()
	return a
}

func (a *authApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := r.Context().Value(authKey{}).(*authState)
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	raw, _ := base64.StdEncoding.DecodeString(text)
	switch {
	case scheme == "NTLM" && strings.HasPrefix(string(raw), "NTLMSSP\x00\x01"):
		s.user, s.nonce = "", fmt.Sprintf("nonce-of-%d", s.id)
		w.Header().Set("WWW-Authenticate", "NTLM "+token(2, s.nonce))
		w.WriteHeader(http.StatusUnauthorized)
		return
	case scheme == "NTLM":
		user, ok := strings.CutSuffix(strings.TrimPrefix(string(raw), "NTLMSSP\x00\x03"), "@"+s.nonce)
		if !ok || s.nonce == "" {
			a.wrong.Add(1)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.user = user
	case scheme == "Negotiate":
		s.user = string(raw[2:])
	}
	if s.user == "" && r.URL.Path != "/public" {
		w.Header().Set("WWW-Authenticate", "NTLM")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, "who are you?")
		return
	}
	io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%s@%d", s.user, s.id)
}

func authorized(credentials string) string {
	return "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: " + credentials + "\r\n\r\n"
}

// begin sends NTLM's first message and returns the challenge.
func (c *client) begin() (nonce string) {
	c.t.Helper()
	resp, _ := c.send(authorized("NTLM "+token(1, ""))).expect(401, "")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(resp.Header.Get("WWW-Authenticate"), "NTLM "))
	nonce, ok := strings.CutPrefix(string(raw), "NTLMSSP\x00\x02")
	if err != nil || !ok || resp.Header.Get("Connection") == "close" {
		c.t.Fatalf("no challenge: %v", resp.Header)
	}
	return nonce
}

// login authenticates the client and returns what the app then answers.
func (c *client) login(user string) string {
	c.t.Helper()
	c.send(get("/")).expect(401, "")
	nonce := c.begin()
	_, body := c.send(authorized("NTLM "+token(3, user+"@"+nonce))).expect(200, "")
	return body
}

// TestPair_UsersAreNeverMixedUp: users on many connections, each request at a
// time of its own, and among them clients that are nobody.
func TestPair_UsersAreNeverMixedUp(t *testing.T) {
	a, b := newAuthApp(t), newAuthApp(t)
	w := newWorld(t, []string{a.addr, b.addr}, config(func(c *Config) { c.Observer = nil }))
	const clients, rounds = 8, 30
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			user := []string{"ada", "bob", ""}[i%3]
			for range rounds / 10 {
				c := w.dial()
				if user == "" {
					for range 10 {
						io.WriteString(c, get("/public"))
						resp, err := http.ReadResponse(c.r, nil)
						if err != nil {
							t.Error(err)
							return
						}
						if body, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(body), "@") {
							t.Errorf("nobody is %q", body)
						}
					}
					continue
				}
				whole := c.login(user)
				if !strings.HasPrefix(whole, user+"@") {
					t.Errorf("%s is %q", user, whole)
				}
				for range 10 {
					if _, body := c.send(get("/")).expect(200, ""); body != whole {
						t.Errorf("%s was %q and is %q", user, whole, body)
					}
				}
				c.Close()
			}
		})
	}
	all.Wait()
	if n := a.wrong.Load() + b.wrong.Load(); n != 0 {
		t.Errorf("%d steps came on the wrong connection", n)
	}
	w.inFlight(0)
}

// TestPair_WhoeverAuthenticatesUnasked is paired though there is no challenge.
func TestPair_WhoeverAuthenticatesUnasked(t *testing.T) {
	a := newAuthApp(t)
	w := newWorld(t, []string{a.addr})
	nobody := w.dial()
	nobody.send(get("/public")).expect(200, "") // its connection is in the pool
	ada := w.dial()
	_, whole := ada.send(authorized(kerberos("ada"))).expect(200, "")
	if !strings.HasPrefix(whole, "ada@") {
		t.Fatalf("ada is %q", whole)
	}
	for range 3 {
		if _, body := nobody.send(get("/public")).expect(200, ""); !strings.HasPrefix(body, "@") {
			t.Errorf("nobody is %q", body)
		}
		if _, body := ada.send(get("/")).expect(200, ""); body != whole {
			t.Errorf("ada was %q and is %q", whole, body)
		}
	}
}

// TestPair_OtherSchemesShareConnections: they are about a request.
func TestPair_OtherSchemesShareConnections(t *testing.T) {
	var conns atomic.Int32
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		conns.Add(1)
		answering("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"NTLM\"\r\nContent-Length: 0\r\n\r\n")(c)
	})})
	for _, credentials := range []string{"Basic eDp5", "Bearer x", "Digest x=y", "Basic eDp5"} {
		w.dial().send(authorized(credentials)).expect(401, "")
		w.inFlight(0)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the app", n)
	}
}

// gone waits until the app has seen one of its connections end.
func (a *authApp) gone(t testing.TB) {
	t.Helper()
	receive(t, a.closed)
}

func TestPair_EndsWithTheClient(t *testing.T) {
	a := newAuthApp(t)
	w := newWorld(t, []string{a.addr})
	c := w.dial()
	c.login("ada")
	c.Close()
	a.gone(t)

	c = w.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: "+kerberos("ada")+"\r\n\r\n").expect(200, "")
	a.gone(t)
	c = w.dial()
	c.send("GET / HTTP/1.0\r\nAuthorization: "+kerberos("ada")+"\r\n\r\n").expect(200, "")
	a.gone(t)

	c = w.dial()
	ask := func(credentials string) string {
		_, body := c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n"+credentials+"\r\n").expect(200, "")
		return body
	}
	if first, second := ask("Authorization: "+kerberos("ada")+"\r\n"), ask(""); first != second {
		t.Errorf("a client of HTTP/1.0 that keeps its connection: %q, then %q", first, second)
	}
}

// TestPair_EndsWithTheApp: its client is a stranger again, and asked anew on the
// connection that it has.
func TestPair_EndsWithTheApp(t *testing.T) {
	a := newAuthApp(t)
	w := newWorld(t, []string{a.addr})
	c := w.dial()
	for range 3 {
		if body := c.login("ada"); !strings.HasPrefix(body, "ada@") {
			t.Errorf("ada is %q", body)
		}
		receive(t, a.conns).Close()
		a.gone(t)
	}
}

// TestPair_DrainEndsWhatIsIdle: a pair holds no instance up, an exchange does.
func TestPair_DrainEndsWhatIsIdle(t *testing.T) {
	a := newAuthApp(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	slow := httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", "Negotiate")
		if r.URL.Path == "/slow" {
			close(begun)
			<-finish
		}
		io.WriteString(w, "old")
	})
	w := newWorld(t, []string{slow, a.addr})
	w.set.Endpoints[1].Draining = true
	w.apply()
	idle, busy := w.dial(), w.dial()
	idle.send(get("/")).expect(200, "")
	busy.send(get("/")).expect(200, "")
	busy.send(get("/slow"))
	receive(t, begun)

	w.set.Endpoints[0].Draining, w.set.Endpoints[1].Draining = true, false
	w.apply()
	w.inFlight(1)
	// Who was authenticated there is asked anew by the new instance.
	if body := idle.login("ada"); !strings.HasPrefix(body, "ada@") {
		t.Errorf("ada is %q", body)
	}
	close(finish)
	if _, body := busy.expect(200, ""); body != "old" {
		t.Errorf("body %q", body)
	}
	w.inFlight(0)
	if body := busy.login("bob"); !strings.HasPrefix(body, "bob@") {
		t.Errorf("bob is %q", body)
	}
}

// TestPair_NotWithAnotherProxy: its connection carries the requests of many.
// What one of them has authenticated is closed with the exchange.
func TestPair_NotWithAnotherProxy(t *testing.T) {
	for name, tt := range map[string]struct {
		opts   []option
		fields string
	}{
		"trusted":         {[]option{trusting()}, ""},
		"X-Forwarded-For": {nil, "X-Forwarded-For: 1.2.3.4\r\n"},
		"Forwarded":       {nil, "Forwarded: for=1.2.3.4\r\n"},
		"Via":             {nil, "via: 1.1 squid\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthApp(t)
			w := newWorld(t, []string{a.addr}, tt.opts...)
			c := w.dial()
			if _, body := c.send("GET / HTTP/1.1\r\nHost: h\r\n"+tt.fields+"Authorization: "+kerberos("ada")+"\r\n\r\n").expect(200, ""); !strings.HasPrefix(body, "ada@") {
				t.Errorf("ada is %q", body)
			}
			if _, body := c.send("GET /public HTTP/1.1\r\nHost: h\r\n"+tt.fields+"\r\n").expect(200, ""); !strings.HasPrefix(body, "@") {
				t.Errorf("nobody is %q", body)
			}
			a.gone(t)
			c.send("GET / HTTP/1.1\r\nHost: h\r\n"+tt.fields+"\r\n").expect(401, "")
			a.gone(t)
		})
	}
}
