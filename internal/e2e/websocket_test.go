package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// websocket is a WebSocket to an app, greeted.
func (h *host) websocket(name string) *websocket.Conn {
	h.Helper()
	c := h.dialWebSocket(name, "/ws")
	if got := read(h, c); got != "hello" {
		h.Fatalf("greeted with %q", got)
	}
	return c
}

// dialWebSocket opens a WebSocket to NAME.test/path.
func (h *host) dialWebSocket(name, path string) *websocket.Conn {
	h.Helper()
	c, _ := h.offerCompression(name, path, websocket.CompressionDisabled)
	return c
}

// offerCompression opens a WebSocket that may be compressed, if the app likes, and
// returns the answer too.
func (h *host) offerCompression(name, path string, mode websocket.CompressionMode) (*websocket.Conn, *http.Response) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", h.url)
	}}
	c, resp, err := websocket.Dial(ctx, "ws://"+name+".test"+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, CompressionMode: mode})
	if err != nil {
		h.Fatal(err)
	}
	c.SetReadLimit(-1)
	h.Cleanup(func() { _ = c.CloseNow() })
	return c, resp
}

func read(t testing.TB, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, msg, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(msg)
}

// echoes sends a message and fails the test unless it comes back.
func echoes(t testing.TB, c *websocket.Conn, msg []byte) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageBinary, msg); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c); got != string(msg) {
		t.Fatalf("%d bytes came back as %d others", len(msg), len(got))
	}
}

// closedWith returns the code that the other end closed with; -1 is a cut.
func closedWith(t testing.TB, c *websocket.Conn) websocket.StatusCode {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, msg, err := c.Read(ctx)
	if err == nil {
		t.Fatalf("a message where the end was expected: %q", msg)
	}
	if ctx.Err() != nil {
		t.Fatal("it was not closed")
	}
	return websocket.CloseStatus(err)
}

func TestWebSocket_EchoesMessagesOfEverySize(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Requests = &roostv1.Requests{Timeout: durationpb.New(100 * time.Millisecond)}
	h.apply(spec)
	c := h.websocket("web") // starts the app
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 5 << 20} {
		echoes(t, c, bytes.Repeat([]byte{'x'}, n))
	}
	quiet := time.After(400 * time.Millisecond)
	h.eventually("requests.timeout has passed and does not end it", func() bool {
		select {
		case <-quiet:
			return true
		default:
			return false
		}
	})
	echoes(t, c, []byte("still here"))
	if err := c.Write(t.Context(), websocket.MessageText, []byte("close")); err != nil {
		t.Fatal(err)
	}
	if got := closedWith(t, c); got != 4000 {
		t.Errorf("closed with %d, the app said 4000", got)
	}
}

func TestWebSocket_BytesBesideTheHandshakeAreKept(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	c, err := dialClient(h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c.conn, "GET /upgrade HTTP/1.1\r\nHost: web.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x85\x00\x00\x00\x00early")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	_, _ = io.WriteString(c.conn, "\x81\x84\x00\x00\x00\x00late")
	_ = c.conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c.r)
	if err != nil || string(got) != "\x81\x05hello\x81\x05early\x81\x04late" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestWebSocket_RefusedUpgradeIsAnAnswer(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	c, err := dialClient(h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	for _, path := range []string{"/", "/refuse", "/"} {
		_, _ = io.WriteString(c.conn, "GET "+path+" HTTP/1.1\r\nHost: web.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		want := map[string]int{"/": http.StatusOK, "/refuse": http.StatusForbidden}[path]
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want {
			t.Errorf("%s: %d %v", path, resp.StatusCode, err)
		}
		if resp.Close {
			return // the connection need not outlive a refused upgrade
		}
	}
}

func TestWebSocket_RecycleClosesAtOnceWhereToldTo(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Requests = &roostv1.Requests{Websockets: roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_CLOSE}
	spec.Stop = &roostv1.Stop{Drain: durationpb.New(10 * patience)}
	h.apply(spec)
	c := h.websocket("web")
	echoes(t, c, []byte("before"))
	id := h.recycle("web")
	if got := closedWith(t, c); got != websocket.StatusGoingAway {
		t.Errorf("closed with %d, want 1001", got)
	}
	if r := h.rollout(id); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
		t.Errorf("rollout: %v", r)
	}
	echoes(t, h.websocket("web"), []byte("after"))
}

func TestWebSocket_RecycleLetsItGoOnUntilTheDrainIsOver(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Stop = &roostv1.Stop{Drain: durationpb.New(1500 * time.Millisecond)}
	h.apply(spec)
	c := h.websocket("web")
	echoes(t, c, []byte("before"))
	old := h.live("web")[0].Id
	id := h.recycle("web")
	h.eventually("its instance drains", func() bool {
		return h.phase("web", old) == roostv1.InstancePhase_INSTANCE_PHASE_DRAINING
	})
	echoes(t, c, []byte("while it drains"))
	if got := closedWith(t, c); got != websocket.StatusGoingAway {
		t.Errorf("closed with %d, want 1001", got)
	}
	if r := h.rollout(id); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
		t.Errorf("rollout: %v", r)
	}
	if i := h.instance(old); i.Exit.GetSignal() == "SIGKILL" {
		t.Errorf("the old instance had to be killed: %v", i)
	}
}

func TestWebSocket_KeepsTheAppFromIdling(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Idle = &roostv1.Idle{After: durationpb.New(300 * time.Millisecond)}
	h.apply(spec)
	// Beside it an app that nobody uses shows that time enough has passed.
	other := h.spec("other")
	other.Idle = &roostv1.Idle{After: durationpb.New(600 * time.Millisecond)}
	h.apply(other)
	c := h.websocket("web")
	h.get("other", "/").wants(t, http.StatusOK)
	h.eventually("the app without a connection is stopped", func() bool { return len(h.live("other")) == 0 })
	echoes(t, c, []byte("still here"))
	_ = c.Close(websocket.StatusNormalClosure, "")
	h.eventually("the app is stopped once it is closed", func() bool { return len(h.live("web")) == 0 })
}

// recycle begins a recycle and returns its rollout.
func (h *host) recycle(name string) string {
	h.Helper()
	resp, err := h.apps.RecycleApp(h.Context(), &roostv1.RecycleAppRequest{Name: name})
	if err != nil {
		h.Fatal(err)
	}
	return resp.RolloutId
}

// phase is that of a live instance, unspecified where it is gone.
func (h *host) phase(name, id string) roostv1.InstancePhase {
	h.Helper()
	live := h.live(name)
	i := slices.IndexFunc(live, func(i *roostv1.Instance) bool { return i.Id == id })
	if i < 0 {
		return 0
	}
	return live[i].Phase
}

func (h *host) instance(id string) *roostv1.Instance {
	h.Helper()
	resp, err := h.instances.GetInstance(h.Context(), &roostv1.GetInstanceRequest{Id: id})
	if err != nil {
		h.Fatal(err)
	}
	return resp.Instance
}
