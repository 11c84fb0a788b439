package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRoom_EveryGuestHearsWhatOneSays(t *testing.T) {
	r := newRoom()
	srv := httptest.NewServer(http.HandlerFunc(r.join))
	defer srv.Close()
	ann, bob := visit(t, srv), visit(t, srv)
	r.waitGuests(t, 2)

	if err := ann.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for _, guest := range []*websocket.Conn{ann, bob} {
		if _, got, err := guest.Read(t.Context()); err != nil || string(got) != "hello" {
			t.Errorf("heard %q, %v, want hello", got, err)
		}
	}
}

func TestRoom_CloseShowsGuestsOutWithACloseFrame(t *testing.T) {
	r := newRoom()
	srv := httptest.NewServer(http.HandlerFunc(r.join))
	defer srv.Close()
	ann := visit(t, srv)
	r.waitGuests(t, 1)

	closed := make(chan struct{})
	go func() { r.close(); close(closed) }()
	if _, _, err := ann.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the guest left with %v, want 1001", err)
	}
	<-closed
	late := visit(t, srv)
	if _, _, err := late.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("a late guest was met with %v, want 1001", err)
	}
}

func visit(t *testing.T, srv *httptest.Server) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// waitGuests waits until n guests are in: the handshake is over before the guest is.
func (r *room) waitGuests(t *testing.T, n int) {
	t.Helper()
	for {
		r.mu.Lock()
		in := len(r.guests)
		r.mu.Unlock()
		if in == n {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("%d guests are in, want %d", in, n)
		}
		time.Sleep(time.Millisecond)
	}
}
