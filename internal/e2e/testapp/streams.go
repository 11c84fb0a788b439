package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/coder/websocket"
)

// gone counts the clients that left before their answer was complete.
var gone atomic.Int64

// came counts the requests for what takes its time.
var came atomic.Int64

func streams(mux *http.ServeMux) {
	mux.HandleFunc("/ws", echoMessages)
	mux.HandleFunc("/upgrade", upgrade)
	mux.HandleFunc("/sse", events)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/sum", sum)
	mux.HandleFunc("/random", random)
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	mux.HandleFunc("/early", early)
	mux.HandleFunc("/raw", raw)
}

// echoMessages is a WebSocket that greets, then sends back what comes; compressed,
// where the query and the client are for it.
func echoMessages(w http.ResponseWriter, r *http.Request) {
	var opts websocket.AcceptOptions
	if r.URL.Query().Has("compress") {
		opts.CompressionMode, opts.CompressionThreshold = websocket.CompressionContextTakeover, 1
	}
	c, err := websocket.Accept(w, r, &opts)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(-1)
	if err := c.Write(r.Context(), websocket.MessageText, []byte("hello")); err != nil {
		return
	}
	for {
		kind, msg, err := c.Read(r.Context())
		if err != nil {
			fmt.Printf("websocket ended with %d\n", websocket.CloseStatus(err))
			return
		}
		if string(msg) == "close" {
			_ = c.Close(4000, "as asked")
			return
		}
		if err := c.Write(r.Context(), kind, msg); err != nil {
			return
		}
	}
}

// upgrade is a WebSocket by hand: it sends its first frame in one write with
// the handshake, and answers each short, masked frame with one of the same text.
func upgrade(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n\x81\x05hello", base64.StdEncoding.EncodeToString(accept[:]))
	for head := make([]byte, 6); ; {
		if _, err := io.ReadFull(rw, head); err != nil {
			return
		}
		text := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(rw, text); err != nil {
			return
		}
		for i := range text {
			text[i] ^= head[2+i%4]
		}
		_, _ = conn.Write(append([]byte{head[0], byte(len(text))}, text...))
	}
}

// events sends one event and then nothing until the client leaves.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: one\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	gone.Add(1)
}

// echo sends the body back while it comes, and its trailer and sum after it.
func echo(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex()
	w.Header().Set("Trailer", "Sum, Sent")
	_ = c.Flush()
	h := sha256.New()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			_, _ = h.Write(buf[:n])
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = c.Flush()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return
		}
	}
	w.Header().Set("Sum", hex.EncodeToString(h.Sum(nil)))
	w.Header().Set("Sent", r.Trailer.Get("Sent"))
}

// sum answers with the sum of the body.
func sum(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	if _, err := io.Copy(h, r.Body); err != nil {
		return
	}
	_, _ = io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
}

// random sends n bytes that cannot be guessed, and their sum as a trailer; with
// a length, and the sum nowhere, where the query says so.
func random(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	if r.URL.Query().Has("length") {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	} else {
		w.Header().Set("Trailer", "Sum")
	}
	h := sha256.New()
	_, _ = io.CopyN(io.MultiWriter(w, h), rand.NewChaCha8([32]byte{}), n)
	if !r.URL.Query().Has("length") {
		w.Header().Set("Sum", hex.EncodeToString(h.Sum(nil)))
	}
}

// early sends a 103 before its answer.
func early(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	_, _ = io.WriteString(w, "late")
}

// raw answers with the bytes that it was sent, as they are. It does so to all that
// comes on that connection, until one says close in its query.
func raw(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	for {
		if _, err := conn.Write(b); err != nil || r.URL.Query().Has("close") {
			return
		}
		if r, err = http.ReadRequest(rw.Reader); err != nil {
			return
		}
		if b, err = io.ReadAll(r.Body); err != nil {
			return
		}
	}
}
