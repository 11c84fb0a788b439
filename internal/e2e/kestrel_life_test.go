package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestKestrel_WebSocket(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	c := h.dialWebSocket("web", "/ws")
	for _, n := range []int{1, 126, 60_000} {
		echoes(t, c, []byte(strings.Repeat("x", n)))
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte("close")); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Read(t.Context())
	if websocket.CloseStatus(err) != websocket.StatusNormalClosure || !contains(err.Error(), "ClosingFromServer") {
		t.Errorf("the server's close came as %v", err)
	}
	c = h.dialWebSocket("web", "/ws")
	echoes(t, c, []byte("again"))
	if err := c.Close(4001, "as the client likes"); err != nil {
		t.Errorf("the client's close: %v", err)
	}
	h.eventually("the app has seen the client's close", func() bool {
		return contains(h.ctlOut("logs", "web"), "probe: websocket closed by peer 4001 as the client likes")
	})
}

func TestKestrel_WebSocketsOff(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(withEnv(h.kestrel("web"), map[string]string{"ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "false"}))
	h.get("web", "/").wants(t, http.StatusOK)
	c := h.wire()
	c.send(t, "GET /ws HTTP/1.1\nHost: web.test\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n")
	if got := c.status(t); !contains(got, " 400 ") {
		t.Errorf("the app saw an upgrade: %s", got)
	}
}

// next waits for another process of the app than the one before.
func (h *host) next(name string, before int) int {
	h.Helper()
	pid := before
	h.eventually("another process answers", func() bool {
		r := h.get(name, "/see/x")
		if r.status != http.StatusOK {
			return false
		}
		pid = seen(h, r).PID
		return pid != before
	})
	return pid
}

func TestKestrel_RestartedAfterEachCrash(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	pid := h.see("web", "/", nil).PID
	for n := range 3 {
		if n == 1 {
			kill(t, int32(pid)) // from outside
		} else if r := h.get("web", "/crash"); r.status != http.StatusBadGateway || r.header.Get("Roost-Error") != "backend-lost" {
			t.Errorf("the request that crashes it is answered %v", r)
		}
		pid = h.next("web", pid)
	}
	// A GET that meets a reset on a connection used before is sent once more, to the
	// next instance: so /crash may crash two.
	h.eventually("each end is an event", func() bool {
		ends := h.count("web", "InstanceExited")
		return ends >= 3 && ends == h.count("web", "InstanceReady")-1
	})
}

// An app that stops itself, gracefully, is a failure as any other, and comes back.
func TestKestrel_RecoversFromStoppingItself(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	pid := h.see("web", "/", nil).PID
	for range 2 {
		h.get("web", "/stop").wants(t, http.StatusOK)
		pid = h.next("web", pid)
	}
	for _, e := range h.seen("web") {
		if e.Id == "InstanceExited" && e.Attributes["exit"] != "exited with code 0" {
			t.Errorf("%s", e.Message)
		}
	}
}

func TestKestrel_RecycleUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	pid := h.see("web", "/", nil).PID
	l := startLoad(h, "web", 8, 100, false)
	for range 2 {
		if r := h.rollout(h.recycle("web")); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
			t.Errorf("recycle: %v", r)
		}
		now := h.see("web", "/", nil).PID
		if now == pid {
			t.Errorf("process %d is still the one", pid)
		}
		pid = now
	}
	l.end(t)
	for _, e := range h.seen("web") {
		if e.Id == "InstanceExited" && e.Attributes["shutdown_request"] != "202" {
			t.Errorf("an instance ended otherwise than by the shutdown request: %s", e.Message)
		}
	}
}

// An app may fail as often a minute as it is allowed, and once more blocks it.
func TestModule_RapidFailsPerMinute(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		for name, limit := range map[string]int32{"none": 0, "one": 1, "five": 5} {
			spec := a.spec(h, name)
			spec.Restart = &roostv1.Restart{RapidFailsPerMinute: &limit}
			h.apply(spec)
			began, kills := time.Now(), int32(0)
			blocked := func() bool { return h.app(name).State == roostv1.AppState_APP_STATE_BLOCKED }
			for !blocked() && kills <= limit {
				pid := int32(h.see(name, "/see/x", nil).PID)
				kill(t, pid)
				kills++
				h.eventually("the end is noticed", func() bool { return h.count(name, "InstanceExited") == int(kills) })
				h.eventually("it is blocked or up again", func() bool { return blocked() || h.app(name).Ready == 1 })
			}
			if time.Since(began) > 50*time.Second {
				t.Skip("this machine is too slow: the failures were not within a minute")
			}
			r := h.get(name, "/see/x")
			if kills != limit+1 || r.status != http.StatusBadGateway || r.header.Get("Roost-Error") != "rapid-fail" {
				t.Errorf("%d allowed: after %d kills the answer is %v", limit, kills, r)
			}
		}
	})
}
