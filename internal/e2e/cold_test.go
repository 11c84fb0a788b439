package e2e

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestCold_FirstRequestStartsTheApp(t *testing.T) {
	t.Parallel()
	for _, mode := range []roostv1.ListenMode{
		roostv1.ListenMode_LISTEN_MODE_PORT, roostv1.ListenMode_LISTEN_MODE_FD, roostv1.ListenMode_LISTEN_MODE_UNIX,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			spec := h.spec("web")
			spec.Listen = &roostv1.Listen{Mode: mode}
			h.apply(spec)
			if got := h.app("web").State; got != roostv1.AppState_APP_STATE_IDLE {
				t.Fatalf("before the first request the app is %v", got)
			}
			h.get("web", "/").wants(t, http.StatusOK)
			if got := h.app("web").State; got != roostv1.AppState_APP_STATE_RUNNING {
				t.Fatalf("after it the app is %v", got)
			}
		})
	}
}

func TestCold_IPv6OnlyAppIsReached(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web", "-ipv6"))
	h.get("web", "/").wants(t, http.StatusOK)
}

func TestCold_FailedStartReachesEveryWaiterAtOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Command = []string{"/bin/sh", "-c", "sleep 0.5; echo cannot open the database >&2; exit 3"}
	h.apply(spec)

	type timed struct {
		reply
		at time.Time
	}
	answers := make([]timed, 200)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = timed{h.get("web", "/"), time.Now()} })
	}
	wg.Wait()
	for _, a := range answers {
		a.wants(t, http.StatusBadGateway)
		if got := a.header.Get("Roost-Error"); got != "start-failed" {
			t.Fatalf("Roost-Error %q, want start-failed", got)
		}
	}
	// The spread is what a waiter may be behind another one, however busy the
	// machine: none waits for a start of its own, which takes half a second.
	first := slices.MinFunc(answers, func(a, b timed) int { return a.at.Compare(b.at) }).at
	last := slices.MaxFunc(answers, func(a, b timed) int { return a.at.Compare(b.at) }).at
	t.Logf("all 200 answers within %v", last.Sub(first))

	h.get("web", "/").wants(t, http.StatusBadGateway)
	if n := h.count("web", "InstanceStarting"); n != 1 {
		t.Fatalf("%d starts, want the one that failed", n)
	}
	retry := h.app("web").RetryTime
	if retry == nil {
		t.Fatal("no retry_time")
	}
	h.eventually("a request after retry_time starts it again", func() bool {
		h.get("web", "/").wants(t, http.StatusBadGateway)
		return h.count("web", "InstanceStarting") == 2
	})
	if time.Now().Before(retry.AsTime()) {
		t.Error("it was started before retry_time")
	}
}

func TestCold_StoppedAppStaysStopped(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(t, http.StatusOK)
	h.stop("web")
	r := h.get("web", "/").wants(t, http.StatusServiceUnavailable)
	if got := r.header.Get("Roost-Error"); got != "stopped" {
		t.Fatalf("Roost-Error %q, want stopped", got)
	}
	h.daemon.end(9)
	h.startDaemon()
	h.get("web", "/").wants(t, http.StatusServiceUnavailable)
	resp, err := h.apps.StartApp(t.Context(), &roostv1.StartAppRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if r := h.rollout(resp.RolloutId); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
		t.Fatalf("start: %v", r)
	}
	h.get("web", "/").wants(t, http.StatusOK)
}

// stop stops an app and waits until it is.
func (h *host) stop(name string) {
	h.Helper()
	resp, err := h.apps.StopApp(h.Context(), &roostv1.StopAppRequest{Name: name})
	if err != nil {
		h.Fatal(err)
	}
	if resp.RolloutId == "" {
		return
	}
	if r := h.rollout(resp.RolloutId); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
		h.Fatalf("stop: %v", r)
	}
}
