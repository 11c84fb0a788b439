package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// session is what the app knows of one of its connections.
type session struct {
	id    int64
	nonce string
	user  string
}

type sessionKey struct{}

var sessions atomic.Int64

func newSession(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, sessionKey{}, &session{id: sessions.Add(1)})
}

// ntlm authenticates its connections in three steps as NTLM does, without its
// cryptography: what the steps say is plain. It answers with who the connection
// is, and its number.
func ntlm(w http.ResponseWriter, r *http.Request) {
	s := r.Context().Value(sessionKey{}).(*session)
	if text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "NTLM "); ok && !s.step(w, text) {
		return
	}
	if s.user == "" {
		w.Header().Set("WWW-Authenticate", "NTLM")
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, "%s %s/%d", s.user, os.Getenv("ROOST_INSTANCE"), s.id)
}

// step reports whether the handshake is complete.
func (s *session) step(w http.ResponseWriter, text string) bool {
	raw, _ := base64.StdEncoding.DecodeString(text)
	message, ok := strings.CutPrefix(string(raw), "NTLMSSP\x00")
	if ok && message == "\x01" {
		s.user, s.nonce = "", fmt.Sprintf("nonce of %d", s.id)
		answer := base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00\x02" + s.nonce))
		w.Header().Set("WWW-Authenticate", "NTLM "+answer)
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	user, nonce, ok := strings.Cut(strings.TrimPrefix(message, "\x03"), ",")
	if !ok || s.nonce == "" || nonce != s.nonce {
		http.Error(w, "a step of another connection's handshake", http.StatusBadRequest)
		return false
	}
	s.user = user
	return true
}
