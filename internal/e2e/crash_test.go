package e2e

import (
	"net/http"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestCrash_LoopIsBlockedAndStartLiftsIt(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web", "-die-after", "1ms")
	spec.Listen = &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_FD}
	spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(2))}
	h.apply(spec)
	h.eventually("the app is blocked", func() bool {
		h.get("web", "/") // one that dies before it is ready is not replaced unasked
		return h.app("web").State == roostv1.AppState_APP_STATE_BLOCKED
	})
	starts := h.count("web", "InstanceStarting")
	h.eventually("requests are told why", func() bool { // the last failed start is the answer until its retry_time
		return h.get("web", "/").wants(t, http.StatusBadGateway).header.Get("Roost-Error") == "rapid-fail"
	})
	if got := h.count("web", "InstanceStarting"); got != starts || starts != 3 {
		t.Fatalf("%d starts, then %d; want 3 and no more", starts, got)
	}
	h.apply(h.spec("web"))
	h.get("web", "/").wants(t, http.StatusOK)
}

func TestCrash_ExitIsReported(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Restart = &roostv1.Restart{When: roostv1.RestartWhen_RESTART_WHEN_NEVER}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	id := h.live("web")[0].Id
	h.get("web", "/exit").wants(t, http.StatusBadGateway)
	h.eventually("its exit is known", func() bool { return len(h.live("web")) == 0 })
	resp, err := h.instances.GetInstance(t.Context(), &roostv1.GetInstanceRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Instance.Exit.GetCode() != 7 {
		t.Fatalf("exit %v, want code 7", resp.Instance.Exit)
	}
}
