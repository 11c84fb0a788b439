package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
)

// An instance that is ended as soon as the proxy has acknowledged its drain takes
// no request with it: neither one over a kept connection, nor a POST.
func TestRun_RecyclesUnderLoadLoseNothing(t *testing.T) {
	h := newHost(t)
	revision := uint64(1)
	// Not h.instance: this test ends them itself.
	begin := func() (*httptest.Server, *roostv1.Endpoint) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
		return s, &roostv1.Endpoint{Instance: fmt.Sprintf("i%d", revision), Address: s.Listener.Addr().String()}
	}
	set := func(endpoints ...*roostv1.Endpoint) *roostv1.EndpointSet {
		s := cold("shop", revision)
		s.Endpoints = endpoints
		return s
	}
	server, endpoint := begin()
	d := fakedaemon.New(1, set(endpoint))
	h.serve(d)
	h.start()

	var stop atomic.Bool
	var done atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for !stop.Load() {
				if err := h.post(transport, "hello"); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	for range 5 {
		before := done.Load()
		h.await(func() bool { return done.Load() > before+100 || t.Failed() })
		revision++
		next, nextEndpoint := begin()
		endpoint.Draining = true
		d.Publish(set(nextEndpoint, endpoint))
		h.load(d, func(l *roostv1.AppLoad) bool {
			return l.GetRevision() == revision && inFlight(l, endpoint.Instance) == 0
		})
		server.CloseClientConnections()
		server.Close()
		server, endpoint = next, nextEndpoint
	}
	stop.Store(true)
	clients.Wait()
	server.Close()
}

func inFlight(l *roostv1.AppLoad, instance string) int32 {
	for _, i := range l.GetInstances() {
		if i.GetInstance() == instance {
			return i.GetInFlight()
		}
	}
	return 0
}

// post sends body and wants it back.
func (h *host) post(transport *http.Transport, body string) error {
	r, err := http.NewRequestWithContext(h.Context(), http.MethodPost, h.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Host = "shop"
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(got) != body) {
		err = fmt.Errorf("%d %q", resp.StatusCode, got)
	}
	return err
}
