package probe

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestWarmUp_AsksAsTheProxyWould(t *testing.T) {
	r := newProber(t, Config{})
	requests := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		requests <- q
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusFound)
	}))
	defer server.Close()
	l := hosted(server, func(s *app.Spec) {
		s.Start.Warmup = "/Shop/warm?all=1"
		s.Routes[0].HTTPS = app.HTTPSOnly
	})
	status, err := r.WarmUp(t.Context(), self(), l, server.Listener.Addr().String())
	if err != nil || status != http.StatusFound {
		t.Fatalf("%d, %v: a redirect is an answer", status, err)
	}
	q := <-requests
	if q.Method != http.MethodGet || q.RequestURI != "/Shop/warm?all=1" || q.Host != "shop.example.com" {
		t.Errorf("%s %s of %s", q.Method, q.RequestURI, q.Host)
	}
	for name, want := range map[string]string{"X-Forwarded-Proto": "https", "MS-ASPNETCORE-TOKEN": l.Token, "Roost-Token": l.Token} {
		if got := q.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestWarmUp_BrokenConnectionIsNoAnswer(t *testing.T) {
	r := newProber(t, Config{})
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	l := hosted(server, func(s *app.Spec) { s.Start.Warmup = "/" })
	status, err := r.WarmUp(t.Context(), self(), l, server.Listener.Addr().String())
	if err != nil || status != http.StatusInternalServerError || asked.Load() != 3 {
		t.Fatalf("%d, %v, after %d requests", status, err, asked.Load())
	}
}

func TestWarmUp_NoAnswerInTime(t *testing.T) {
	r := newProber(t, Config{})
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	defer server.Close()
	defer close(end)
	l := hosted(server, func(s *app.Spec) { s.Start.Warmup = "/slow" })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := r.WarmUp(ctx, self(), l, server.Listener.Addr().String())
	if e, ok := errors.AsType[*app.StartError](err); !ok || !e.Timeout || e.Step != "warmup" || !strings.Contains(e.Message, "GET /slow got no answer") {
		t.Fatalf("%v", err)
	}
}
