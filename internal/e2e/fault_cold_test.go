package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Everybody who comes first waits for the one start, and gets what came of it.
func TestFault_ManyFirstRequests(t *testing.T) {
	f := fault(t, "9", "500 simultaneous first requests: to an app that starts, one that fails, one that is never ready")
	f.Parallel()
	h := newHost(f)
	slow, failing, never := h.spec("slow", "-boot", "300ms"), h.spec("failing"), h.spec("never", "-never")
	failing.Command = []string{"/bin/sh", "-c", "sleep 0.5; exit 3"}
	never.Start = &roostv1.Start{Timeout: durationpb.New(2 * time.Second)}
	h.apply(slow, failing, never)
	const n = 500
	for _, tt := range []struct {
		name, roostError string
		status           int
	}{{"slow", "", http.StatusOK}, {"failing", "start-failed", http.StatusBadGateway}, {"never", "start-timeout", http.StatusBadGateway}} {
		began := time.Now()
		replies := h.together(n, tt.name)
		f.slowest(tt.name, time.Since(began))
		wrong := 0
		for _, r := range replies {
			if r.err != nil || r.status != tt.status || r.header.Get("Roost-Error") != tt.roostError {
				wrong++
				f.Logf("%s: %v", tt.name, r)
			}
		}
		f.count("requests", n)
		f.lost("answers", wrong)
		f.lost("starts too many", h.count(tt.name, "InstanceStarting")-1)
	}
}

// together sends n requests at the same moment.
func (h *host) together(n int, name string) []reply {
	replies := make([]reply, n)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = h.get(name, "/") })
	}
	wg.Wait()
	return replies
}
