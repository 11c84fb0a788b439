package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	maxMessage = 4 << 10 // bytes
	// How many messages a guest may be behind before they are shown out: the
	// room waits for nobody.
	maxBehind = 64
)

// room hands what each guest says to all of them.
type room struct {
	mu     sync.Mutex
	guests map[*guest]struct{}
	open   sync.WaitGroup
	closed bool
}

type guest struct {
	said  chan []byte
	leave context.CancelCauseFunc
}

// reason is why a guest has to leave, as a close frame says it.
type reason websocket.CloseError

func (r *reason) Error() string { return r.Reason }

func newRoom() *room { return &room{guests: map[*guest]struct{}{}} }

// join is the life of one guest.
func (r *room) join(w http.ResponseWriter, req *http.Request) {
	conn, err := websocket.Accept(w, req, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxMessage)

	// Not the request's: its context says nothing any more once the connection is a WebSocket.
	ctx, leave := context.WithCancelCause(context.Background())
	defer leave(nil)
	g := &guest{said: make(chan []byte, maxBehind), leave: leave}
	if !r.enter(g) {
		_ = conn.Close(websocket.StatusGoingAway, "the room closes")
		return
	}
	defer r.exit(g)

	go func() {
		for {
			_, message, err := conn.Read(context.Background()) // ends with conn
			if err != nil {
				leave(err)
				return
			}
			r.say(message)
		}
	}()
	g.listen(ctx, conn)
	if why, ok := errors.AsType[*reason](context.Cause(ctx)); ok {
		_ = conn.Close(why.Code, why.Reason)
	}
}

// listen writes what is said to conn until ctx ends.
func (g *guest) listen(ctx context.Context, conn *websocket.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-g.said:
			// Not within ctx: a write that is cut short takes the close frame's place.
			limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := conn.Write(limit, websocket.MessageText, message)
			cancel()
			if err != nil {
				return
			}
		}
	}
}

func (r *room) enter(g *guest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.guests[g] = struct{}{}
	r.open.Add(1)
	return true
}

func (r *room) exit(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.guests, g)
	r.open.Done()
}

func (r *room) say(message []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for g := range r.guests {
		select {
		case g.said <- message:
		default:
			g.leave(&reason{Code: websocket.StatusPolicyViolation, Reason: "too far behind"})
		}
	}
}

// close shows everybody out with a close frame, and waits until they are.
func (r *room) close() {
	r.mu.Lock()
	r.closed = true
	for g := range r.guests {
		g.leave(&reason{Code: websocket.StatusGoingAway, Reason: "the room closes"})
	}
	r.mu.Unlock()
	r.open.Wait()
}
