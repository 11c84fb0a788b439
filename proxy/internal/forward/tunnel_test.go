package forward

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roostd/roost/proxy/internal/backend"
)

const handshake = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nSec-WebSocket-Accept: x\r\n\r\n"

// frame makes an unmasked frame.
func wsFrame(op byte, payload string) string {
	return string([]byte{0x80 | op, byte(len(payload))}) + payload
}

func (c *client) upgraded() *client {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodGet})
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("upgrade: %v, %v", resp, err)
	}
	if resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Connection") != "Upgrade" || resp.Header.Get("X-Hop") != "" || resp.Header.Get("Keep-Alive") != "" {
		c.t.Errorf("fields of the 101: %v", resp.Header)
	}
	return c
}

func (c *client) want(s string) *client {
	c.t.Helper()
	b := make([]byte, len(s))
	if n, err := io.ReadFull(c.r, b); err != nil || string(b) != s {
		c.t.Fatalf("got %q, %v, want %q", b[:n], err, s)
	}
	return c
}

func TestTunnel_BytesAfterTheHandshake(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		if h := c.head(); !strings.Contains(h, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n") {
			t.Errorf("handshake forwarded as %q", h)
		}
		io.WriteString(c, switching+wsFrame(1, "from app"))
		c.want(wsFrame(1, "early"))
		io.WriteString(c, wsFrame(1, "got it"))
	})})
	c := w.dial().send(handshake + wsFrame(1, "early")).upgraded()
	c.want(wsFrame(1, "from app") + wsFrame(1, "got it"))
	c.CloseWrite()
	c.closed()
	if r := w.journal.next(t); r.Status != 101 || r.BytesIn != 7 || r.BytesOut != 18 {
		t.Errorf("record %+v", r)
	}
}

func TestTunnel_HalfClose(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, switching)
		if c.want("c"); true {
			b, _ := io.ReadAll(c.r) // the client has closed its direction
			io.WriteString(c, "late"+string(b))
		}
	})})
	c := w.dial().send(handshake).upgraded().send("cx")
	c.CloseWrite()
	c.want("latex").closed()

	got := make(chan string, 1)
	w = newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, switching)
		c.CloseWrite()
		b, _ := io.ReadAll(c.r)
		got <- string(b)
	})})
	c = w.dial().send(handshake).upgraded()
	c.closed() // the app's direction
	c.send("still")
	c.CloseWrite()
	if b := receive(t, got); b != "still" {
		t.Errorf("the app got %q", b)
	}
}

func TestTunnel_OtherAnswer(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, answering(ok))})
	c := w.dial()
	c.send(handshake).expect(200, "")
	c.send(get("/")).expect(200, "")
}

func TestTunnel_NoUpgradeWithABodyOrToOtherProtocols(t *testing.T) {
	heads := make(chan string, 4)
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		for {
			h := c.head()
			if h == "" {
				return
			}
			heads <- h
			if strings.Contains(h, "Content-Length: 3") {
				c.want("abc")
			}
			io.WriteString(c, ok)
		}
	})})
	c := w.dial()
	c.send(strings.Replace(handshake, "Host: h\r\n", "Host: h\r\nContent-Length: 3\r\n", 1)+"abc").expect(200, "")
	c.send(strings.Replace(handshake, "WebSocket", "h2c", 1)).expect(200, "")
	c.send(get("/")).expect(200, "")
	for range 3 {
		if h := receive(t, heads); len(fields(h, "Upgrade")) > 0 {
			t.Errorf("forwarded %q", h)
		}
	}
}

// wsWorld has an app that echoes WebSocket messages.
func wsWorld(t *testing.T, opts ...option) (*world, *websocket.Conn) {
	app := httpApp(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		for {
			typ, b, err := c.Read(context.Background())
			if err != nil {
				return
			}
			c.Write(context.Background(), typ, b)
		}
	})
	w := newWorld(t, []string{app}, opts...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	tr := &http.Transport{TLSClientConfig: clientTLS()}
	c, _, err := websocket.Dial(ctx, w.url("ws")+"/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	echoes(t, c)
	return w, c
}

func echoes(t *testing.T, c *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	msg := bytes.Repeat([]byte("hello"), 5000)
	if err := c.Write(ctx, websocket.MessageBinary, msg); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(ctx); err != nil || !bytes.Equal(got, msg) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
}

func goesAway(t *testing.T, c *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("ended by %v, want 1001", err)
	}
}

func (w *world) drainInstances() {
	for i := range w.set.Endpoints {
		w.set.Endpoints[i].Draining = true
	}
	w.apply()
}

func (w *world) inFlight(n int) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); w.registry.Loads()[0].InFlight != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("load %+v, want %d in flight", w.registry.Loads(), n)
		}
	}
}

func TestTunnel_DrainCloses(t *testing.T) {
	w, c := wsWorld(t, policy(func(p *backend.Policy) { p.CloseWebSockets = true }))
	w.inFlight(1)
	w.drainInstances()
	goesAway(t, c)
	w.inFlight(0)
}

func TestTunnel_DrainWaits(t *testing.T) {
	w, c := wsWorld(t)
	w.drainInstances()
	echoes(t, c)
	w.inFlight(1)
	c.Close(websocket.StatusNormalClosure, "")
	w.inFlight(0)
}

// TestTunnel_DrainEnds: once the daemon takes a draining instance out of the set,
// it is told to end. One that was taken out without a drain may come back.
func TestTunnel_DrainEnds(t *testing.T) {
	w, c := wsWorld(t)
	endpoints := w.set.Endpoints
	w.set.Endpoints = nil
	w.apply()
	echoes(t, c)
	w.set.Endpoints = endpoints
	w.drainInstances()
	echoes(t, c)
	w.set.Endpoints = nil
	w.apply()
	goesAway(t, c)
	w.inFlight(0)
}

// TestTunnel_InstanceStopsWhileDraining: the client gets the close frame that
// the app did not send.
func TestTunnel_InstanceStopsWhileDraining(t *testing.T) {
	stop := make(chan struct{})
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, switching+wsFrame(1, "hi"))
		<-stop
	})})
	c := w.dial().send(handshake).upgraded().want(wsFrame(1, "hi"))
	w.drainInstances()
	close(stop)
	c.want(string(goingAway))
	c.Close()
	w.inFlight(0)
}

// TestTunnel_CloseOnAFrameBoundary: a frame under way is finished first.
func TestTunnel_CloseOnAFrameBoundary(t *testing.T) {
	closed := make(chan string, 1)
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, switching+"\x82\x04ab")
		c.want(string(goingAwayMasked)) // its own direction was between two frames
		io.WriteString(c, "cd"+wsFrame(2, "never seen"))
		b, _ := io.ReadAll(c.r)
		closed <- string(b)
	})}, policy(func(p *backend.Policy) { p.CloseWebSockets = true }))
	c := w.dial().send(handshake).upgraded().want("\x82\x04ab")
	w.drainInstances()
	c.want("cd" + string(goingAway))
	c.send("\x88\x82\x00\x00\x00\x00\x03\xe9") // its answer
	c.closed()
	if b := receive(t, closed); b != "" {
		t.Errorf("after the close frame the app got %q", b)
	}
}

// TestTunnel_HasNoTimeLimits: neither end's silence, nor a client that takes
// nothing for a while.
func TestTunnel_HasNoTimeLimits(t *testing.T) {
	const size = 8 << 20
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, switching)
		c.Write(noise(size))
		c.want("x")
		io.WriteString(c, "y")
	})}, policy(func(p *backend.Policy) { p.Timeout = 300 * time.Millisecond }),
		short(Limits{Body: 300 * time.Millisecond, Idle: 300 * time.Millisecond, Head: 300 * time.Millisecond}))
	c := w.dial().send(handshake).upgraded()
	// Time has to pass: that nothing is cut has no other sign. A slow machine
	// makes it longer, which cannot fail the test.
	limits := 3 * 300 * time.Millisecond
	<-time.After(limits)
	if n, err := io.CopyN(io.Discard, c.r, size); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	<-time.After(limits)
	c.send("x").want("y")
}

func TestFrames_FindTheirEnds(t *testing.T) {
	long := make([]byte, 70000)
	stream := []byte(wsFrame(1, "a") + wsFrame(2, ""))
	ends := []int{3, 5}
	add := func(head []byte, payload []byte) {
		stream = append(append(stream, head...), payload...)
		ends = append(ends, len(stream))
	}
	add(binary.BigEndian.AppendUint16([]byte{0x82, 126}, 300), long[:300])
	add(append(binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, 70000), 1, 2, 3, 4), long)
	add([]byte{0x89, 0x80, 1, 2, 3, 4}, nil)
	if len(stream) != ends[len(ends)-1] {
		t.Fatal("bad test")
	}
	for _, piece := range []int{1, 2, 7, 1000, len(stream)} {
		var f, g frames
		var got []int
		for i := 0; i < len(stream); i++ {
			f.advance(stream[i : i+1])
			if f.atBoundary() {
				got = append(got, i+1)
			}
		}
		if len(got) != len(ends) || got[3] != ends[3] {
			t.Fatalf("ends %v, want %v", got, ends)
		}
		for rest := stream; len(rest) > 0; {
			n := min(piece, len(rest))
			g.advance(rest[:n])
			rest = rest[n:]
		}
		if !g.atBoundary() || g.closed {
			t.Errorf("in pieces of %d: %+v", piece, g)
		}
	}
	var f frames
	f.advance([]byte(wsFrame(8, "\x03\xe8")))
	if !f.closed {
		t.Error("a close frame was not seen")
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(wsFrame(1, "hello")+wsFrame(8, "")), 3)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		if cut < 0 || cut > len(stream) {
			return
		}
		var whole, parts frames
		whole.advance(stream)
		parts.advance(stream[:cut])
		n := parts.finish(stream[cut:])
		if n < len(stream)-cut && !parts.atBoundary() {
			t.Fatal("finish stopped within a frame")
		}
		parts.advance(stream[cut+n:])
		if whole != parts {
			t.Fatalf("%+v in one piece, %+v in two", whole, parts)
		}
	})
}

// TestTunnel_CloseOfABusyConnection: both sides find whole frames and then a
// close frame, however the drain meets what is under way.
func TestTunnel_CloseOfABusyConnection(t *testing.T) {
	frame := wsFrame(2, strings.Repeat("x", 100))
	for range 100 {
		heard := make(chan string, 1)
		w := newWorld(t, []string{rawApp(t, func(c *client) {
			c.head()
			io.WriteString(c, switching)
			var writing sync.WaitGroup
			writing.Go(func() {
				for {
					if _, err := io.WriteString(c.Conn, frame); err != nil {
						return
					}
				}
			})
			b := make([]byte, len(goingAwayMasked))
			n, _ := io.ReadFull(c.r, b)
			heard <- string(b[:n])
			c.Close()
			writing.Wait()
		})}, policy(func(p *backend.Policy) { p.CloseWebSockets = true }))
		c := w.dial().send(handshake).upgraded().want(frame)
		w.drainInstances()
		b, _ := io.ReadAll(c.r)
		frames, ok := strings.CutSuffix(string(b), string(goingAway))
		if !ok || strings.Trim(frames, frame[:3]+frame[len(frame)-1:]) != "" || len(frames)%len(frame) != 0 {
			t.Fatalf("the client got %d bytes, %d beyond a frame, ending in %q", len(b), len(frames)%len(frame), b[max(0, len(b)-20):])
		}
		if got := receive(t, heard); got != string(goingAwayMasked) {
			t.Fatalf("the app got %q", got)
		}
	}
}

// TestTunnel_WokenLate: a flow that saw the tunnel closing by itself is not ended
// by the call to look.
func TestTunnel_WokenLate(t *testing.T) {
	more, told := make(chan struct{}), make(chan struct{})
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, switching+"\x82\x04a")
		<-more
		io.WriteString(c, "b")
		<-more
		io.WriteString(c, "cd")
		c.want(string(goingAwayMasked))
		close(told)
	})})
	c, peer := w.serveOne()
	peer.send(handshake).upgraded().want("\x82\x04a")
	c.mu.Lock()
	tunnel := c.tunnel
	c.mu.Unlock()
	tunnel.closing.Store(new(time.Now().Add(patience)))
	more <- struct{}{}
	peer.want("b")
	tunnel.wake()
	more <- struct{}{}
	peer.want("cd" + string(goingAway))
	receive(t, told) // before the client leaves
}

// TestTunnel_CloseOfAClientThatDoesNotRead: a drain does not wait for it.
func TestTunnel_CloseOfAClientThatDoesNotRead(t *testing.T) {
	w := newWorld(t, []string{rawApp(t, func(c *client) {
		c.head()
		io.WriteString(c, switching)
		for {
			if _, err := c.Write(noise(1 << 20)); err != nil {
				return
			}
		}
	})}, policy(func(p *backend.Policy) { p.CloseWebSockets = true }))
	w.dial().send(handshake).upgraded()
	// Until nothing moves any more; a slow machine makes it an easier test.
	<-time.After(300 * time.Millisecond)
	w.drainInstances()
	w.inFlight(0)
}
