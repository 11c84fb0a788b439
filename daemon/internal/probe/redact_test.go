package probe

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// What a probe is told ends up in events, conditions and answers.
func TestProber_NeverTellsTheToken(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	for name, says := range map[string]string{"whole": "a " + token + " b", "cut": token[12:] + " b"} {
		t.Run("exec, "+name, func(t *testing.T) {
			p := self()
			p.execErr, p.execFail = errors.New("sh exited with code 1: "+says), 1<<30
			l := launch(app.ListenNone, func(s *app.Spec) {
				s.Ready = app.Probe{Kind: app.ProbeExec, Command: []string{"sh"}}
				s.Recycle.MinReady = new(time.Duration(0))
			})
			_, err := wait(t, newProber(t, Config{}), p, l, 50*time.Millisecond)
			checkHidden(t, err)
			checkHidden(t, newProber(t, Config{}).Check(t.Context(), p, l, ""))
		})
	}
	t.Run("http", func(t *testing.T) {
		ln, port := listener(t, "tcp4", "127.0.0.1:0")
		go answerEach(ln, "HTTP/1.1 500 "+token+"\r\nContent-Length: 0\r\n\r\n")
		l := launch(app.ListenPort, func(s *app.Spec) { s.Ready.Kind = app.ProbeHTTP })
		l.Port = port
		r, p := newProber(t, Config{}), self()
		_, err := wait(t, r, p, l, 200*time.Millisecond)
		checkHidden(t, err)
		checkHidden(t, r.Check(t.Context(), p, l, ln.Addr().String()))
	})
	t.Run("what is not HTTP", func(t *testing.T) {
		ln, port := listener(t, "tcp4", "127.0.0.1:0")
		go answerEach(ln, token+"\r\n\r\n")
		l := launch(app.ListenPort, func(s *app.Spec) { s.Ready.Kind = app.ProbeHTTP })
		l.Port = port
		_, err := wait(t, newProber(t, Config{}), self(), l, 200*time.Millisecond)
		checkHidden(t, err)
	})
}

func checkHidden(t *testing.T, err error) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), "01234567") || !strings.Contains(err.Error(), app.Redacted) {
		t.Errorf("%v, want an error without the token", err)
	}
}

// answerEach writes an answer to every connection, once it has been asked.
func answerEach(ln net.Listener, answer string) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, http.DefaultMaxHeaderBytes))
		_, _ = conn.Write([]byte(answer))
		_ = conn.Close()
	}
}
