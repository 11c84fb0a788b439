package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestTLS_CertificateByName(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	fallback, wild := f.ca.issue("anything.test"), f.ca.issue("*.wild.test")
	f.put("default", fallback)
	f.put("_.wild.test", wild)
	f.apply(f.spec("web"))
	f.eventually("the new certificates are there", func() bool { return f.shown("any.wild") == wild.Leaf.SerialNumber.Int64() })
	if got, want := f.shown("anything"), fallback.Leaf.SerialNumber.Int64(); got != want {
		t.Errorf("shown %d, want the fallback %d", got, want)
	}
	var seen struct{ Header http.Header }
	r := f.secure("web", "/headers", http.Header{"Ms-Aspnetcore-Clientcert": {"forged"}, "X-Forwarded-Proto": {"gopher"}}).wants(t, http.StatusOK)
	if err := json.Unmarshal([]byte(r.body), &seen); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(f.https)
	for name, want := range map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Port": port, "Ms-Aspnetcore-Clientcert": ""} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestTLS_ReloadUnderLoad: certificates come, are half there, and come again, and
// no handshake fails.
func TestTLS_ReloadUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.apply(f.spec("web"))
	f.secure("web", "/", nil).wants(t, http.StatusOK)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var mu sync.Mutex
	asked, failed := 0, []string{}
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := f.secure("web", "/", nil)
				mu.Lock()
				asked++
				if r.err != nil || r.status != http.StatusOK {
					failed = append(failed, r.String())
				}
				mu.Unlock()
			}
		})
	}
	for n := range 5 {
		f.write("web.test.pem", []byte("-----BEGIN CERTIFICATE-----\nhalf")[:10+5*n])
		f.eventually("the broken file is told of", func() bool {
			return strings.Count(f.proxy.output(), "certificate not used") == n+1
		})
		c := f.ca.issue("web.test")
		f.put("web.test", c)
		f.eventually("the new certificate is shown", func() bool { return f.shown("web") == c.Leaf.SerialNumber.Int64() })
	}
	close(stop)
	clients.Wait()
	if len(failed) > 0 || asked < 10 {
		t.Errorf("%d of %d failed: %.2000s", len(failed), asked, strings.Join(failed, "\n"))
	}
	if err := os.Remove(filepath.Join(f.certs, "web.test.pem")); err != nil {
		t.Fatal(err)
	}
	f.eventually("the removed one is dropped", func() bool { return f.shown("web") == 0 })
}

func TestTLS_ClientCertificates(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	spec := f.spec("web")
	spec.Preset = roostv1.Preset_PRESET_ASPNETCORE
	f.apply(spec)
	people := newAuthority(t, "people")
	person, stranger := people.issue("person"), newAuthority(t, "others").issue("stranger")
	seen := func(own ...tls.Certificate) string {
		t.Helper()
		var seen struct{ Header http.Header }
		r := f.secure("web", "/headers", http.Header{"Ms-Aspnetcore-Clientcert": {"forged"}}, own...).wants(t, http.StatusOK)
		if err := json.Unmarshal([]byte(r.body), &seen); err != nil {
			t.Fatal(err)
		}
		return seen.Header.Get("Ms-Aspnetcore-Clientcert")
	}
	is := func(got string, want tls.Certificate) {
		t.Helper()
		if der, err := base64.StdEncoding.DecodeString(got); err != nil || !bytes.Equal(der, want.Certificate[0]) {
			t.Errorf("the app sees %q", got)
		}
	}
	is(seen(stranger), stranger)
	if got := seen(); got != "" {
		t.Errorf("the app sees %q of a client without a certificate", got)
	}

	ca := filepath.Join(f.dir, "people.crt")
	if err := os.WriteFile(ca, people.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.restart("--client-auth", "require", "--client-ca", ca)
	is(seen(person), person)
	for name, own := range map[string][]tls.Certificate{"none": nil, "a stranger's": {stranger}} {
		if r := f.secure("web", "/", nil, own...); r.err == nil || !strings.Contains(r.err.Error(), "tls: ") {
			t.Errorf("certificate: %s; %v, want a failed handshake", name, r)
		}
	}
}

func TestTLS_RoutesThatWantIt(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.put("only.test", f.ca.issue("only.test"))
	web, only := f.spec("web"), f.spec("only")
	web.Routes[0].Https = roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT
	only.Routes[0].Https = roostv1.HttpsPolicy_HTTPS_POLICY_ONLY
	f.apply(web, only)
	r := f.get("web", "/headers?a=%2f&b").wants(t, http.StatusPermanentRedirect)
	_, port, _ := net.SplitHostPort(f.https)
	if got, want := r.header.Get("Location"), "https://web.test:"+port+"/headers?a=%2f&b"; got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	r = f.get("only", "/").wants(t, http.StatusNotFound)
	if got := r.header.Get("Roost-Error"); got != "no-route" {
		t.Errorf("Roost-Error %q", got)
	}
	if n := len(f.live("web")) + len(f.live("only")); n != 0 {
		t.Errorf("%d instances were started for requests that no app got", n)
	}
	f.eventually("the new certificate is shown", func() bool { return f.shown("only") != 0 })
	f.secure("web", "/", nil).wants(t, http.StatusOK)
	f.secure("only", "/", nil).wants(t, http.StatusOK)
	f.get("web", "/.well-known/acme-challenge/x").wants(t, http.StatusOK)
	f.get("only", "/.well-known/acme-challenge/x").wants(t, http.StatusNotFound)
}

// TestTLS_SIGTERM: what is open is finished, WebSockets are told, and nothing new
// is taken.
func TestTLS_SIGTERM(t *testing.T) {
	t.Parallel()
	f := newFront(t, "--drain-timeout", "4s")
	f.apply(f.spec("web"))
	f.secure("web", "/", nil).wants(t, http.StatusOK)
	ws := f.secureWebSocket("web")
	for _, n := range []int{0, 1, 126, 16384, 65536, 5 << 20} {
		echoes(t, ws, bytes.Repeat([]byte{'x'}, n))
	}
	idle, err := f.dial(f.config("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = idle.Close() }()
	busy, err := f.dial(f.config("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	_ = busy.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(busy, "GET /sleep?for=1s HTTP/1.1\r\nHost: web.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(busy)
	resp, err := http.ReadResponse(r, nil) // it has begun
	if err != nil {
		t.Fatal(err)
	}
	f.proxy.signal(syscall.SIGTERM)
	_ = idle.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("the idle connection got %q and ended with %v, want a clean end", b, err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 10 {
		t.Errorf("the open request got %q, %v", b, err)
	}
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Errorf("after the answer: %q, %v, want a clean end", b, err)
	}
	if code := closedWith(t, ws); code != websocket.StatusGoingAway {
		t.Errorf("the WebSocket ended with %d", code)
	}
	<-f.proxy.exited
	if code := f.proxy.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func (f *front) secureWebSocket(name string) *websocket.Conn {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: f.config(name), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", f.https)
	}}
	c, _, err := websocket.Dial(ctx, "wss://"+name+".test/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		f.Fatal(err)
	}
	c.SetReadLimit(-1)
	f.Cleanup(func() { _ = c.CloseNow() })
	if got := read(f, c); got != "hello" {
		f.Fatalf("greeted with %q", got)
	}
	return c
}

func TestTLS_ClientThatLeaves(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.apply(f.spec("web"))
	f.secure("web", "/", nil).wants(t, http.StatusOK)
	c, err := f.dial(f.config("web"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /sleep?for=10m HTTP/1.1\r\nHost: web.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	f.eventually("the app has the request", func() bool { return f.secure("web", "/came", nil).body == "1\n" })
	_ = c.Close()
	f.eventually("the app knows", func() bool { return f.secure("web", "/gone", nil).body == "1\n" })
}

func TestTLS_Kestrel(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.apply(f.kestrel("web"))
	person := newAuthority(t, "people").issue("person")
	s := seen(t, f.secure("web", "/", nil, person))
	if s.Scheme != "https" || s.Host != "web.test" || s.ClientCertificate == "" {
		t.Errorf("it sees %+v", s)
	}
	if s := seen(t, f.secure("web", "/", http.Header{"Ms-Aspnetcore-Clientcert": {"forged"}})); s.ClientCertificate != "" {
		t.Errorf("it sees %q of a client without a certificate", s.ClientCertificate)
	}
	env := map[string]string{}
	r := f.secure("web", "/env", nil).wants(t, http.StatusOK)
	if err := json.Unmarshal([]byte(r.body), &env); err != nil {
		t.Fatal(err)
	}
	if _, port, _ := net.SplitHostPort(f.https); env["ASPNETCORE_ANCM_HTTPS_PORT"] != port {
		t.Errorf("ASPNETCORE_ANCM_HTTPS_PORT %q, want %s", env["ASPNETCORE_ANCM_HTTPS_PORT"], port)
	}
}
