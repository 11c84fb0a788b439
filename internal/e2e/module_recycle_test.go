package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// moduleSite is one of the module's apps in its folder, recycled when its
// web.config changes.
func (h *host) moduleSite(a moduleApp, name string) (*site, *roostv1.AppSpec) {
	h.Helper()
	spec := a.spec(h, name)
	s := &site{h, name, spec.Dir}
	if _, err := os.Stat(filepath.Join(spec.Dir, "web.config")); err != nil {
		s.put("web.config", "<configuration/>")
	}
	spec.Recycle.Watch, spec.Recycle.Settle = []string{"web.config"}, durationpb.New(100*time.Millisecond)
	return s, spec
}

// touch is a change of the file's time, and of nothing else.
func (s *site) touch(file string) {
	s.Helper()
	now := time.Now()
	if err := os.Chtimes(filepath.Join(s.dir, file), now, now); err != nil {
		s.Fatal(err)
	}
}

// 2,000 requests, one after the other, a millisecond apart: whatever replaces the
// process in between, each of them is answered.
func TestModuleRecycle_TwoThousandRequestsAreAllAnswered(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		s, spec := h.moduleSite(a, "web")
		h.apply(spec)
		h.see("web", "/see/x", nil)
		for _, change := range []struct {
			name string
			make func()
		}{
			{"a recycle", func() { h.recycle("web") }},
			{"a touched web.config", func() { s.touch("web.config") }},
			{"an apply", func() {
				withEnv(spec, map[string]string{"CHANGED": "1"})
				if _, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}}); err != nil {
					t.Fatal(err)
				}
			}},
		} {
			pids := twoThousand(h, 500, change.make)
			if len(pids) != 2 {
				t.Errorf("across %s requests were answered by the processes %v, want two", change.name, pids)
			}
			h.eventually("one process is left", func() bool { return len(h.live("web")) == 1 })
		}
		if n := h.count("web", "InstanceKilled") + h.count("web", "StartFailed"); n > 0 {
			t.Errorf("%d were killed or did not start", n)
		}
	})
}

// twoThousand sends as many requests to web, and does something before one of them;
// more than those where that is not over by then. It returns how many each process
// has answered.
func twoThousand(h *host, at int, do func()) map[int]int {
	h.Helper()
	pids := map[int]int{}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var c *client
	deadline := time.Now().Add(2 * patience)
	for n := 0; n < 2000 || len(pids) < 2 && time.Now().Before(deadline); n++ {
		if n == at {
			do()
		}
		<-tick.C
		if c == nil {
			c = h.wire()
		}
		resp, body, err := c.ask("web", "/see/x", false)
		if err != nil || resp.StatusCode != http.StatusOK {
			h.Fatalf("request %d: %v %v %s", n, err, resp, body)
		}
		var s seenByKestrel
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			h.Fatalf("request %d: %v: %s", n, err, body)
		}
		pids[s.PID]++
		if resp.Close {
			c = nil
		}
	}
	return pids
}

// A change of web.config replaces the process where that is watched, and nothing where not.
func TestModuleRecycle_WebConfigIsWatchedOrNot(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		watched, spec := h.moduleSite(a, "watched")
		ignored, other := h.moduleSite(a, "ignored")
		other.Recycle.Watch = nil
		h.apply(spec, other)
		first, kept := h.see("watched", "/see/x", nil).PID, h.see("ignored", "/see/x", nil).PID
		ignored.touch("web.config")
		watched.touch("web.config")
		h.next("watched", first)
		if now := h.see("ignored", "/see/x", nil).PID; now != kept {
			t.Errorf("it is not told to watch, and was process %d and is %d", kept, now)
		}
	})
}

func TestKestrel_TouchesOfItsWebConfigUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	kestrelBundle(t)
	s, spec := h.moduleSite(moduleApps["kestrel"], "web")
	h.apply(spec)
	pid := h.see("web", "/", nil).PID
	l := startLoad(h, "web", 4, 100, false)
	for n := range 100 {
		s.touch("web.config")
		if n%25 == 24 { // that it settles now and then
			pid = h.next("web", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.eventually("it was recycled, and is done", func() bool {
		return len(h.live("web")) == 1 && h.app("web").Rollout.GetPhase() == roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE
	})
	l.end(t)
}

func TestModuleOffline_AddedAndRemoved(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		s, spec := h.moduleSite(a, "web")
		h.apply(spec)
		pid := h.see("web", "/see/x", nil).PID
		for n := range 2 {
			page := fmt.Sprintf("<p>back soon %d</p>", n)
			s.put("app_offline.htm", page)
			s.offline(page)
			s.empty()
			// What a deployment does now: other files of the same names.
			next := s.dir + ".next"
			if err := errorsOf(os.CopyFS(next, os.DirFS(s.dir)), os.RemoveAll(s.dir), os.Rename(next, s.dir), os.Chmod(s.dir, 0o777)); err != nil {
				t.Fatal(err)
			}
			s.offline(page)
			s.remove("app_offline.htm")
			pid = h.next("web", pid)
		}
		for _, e := range h.seen("web") {
			if e.Id == "InstanceExited" && (e.Attributes["shutdown_request"] != "202" || e.Attributes["exit"] != "exited with code 0") {
				t.Errorf("it did not end by the shutdown request: %s %v", e.Message, e.Attributes)
			}
		}
	})
}

func TestModuleOffline_FiveRoundsUnderLoad(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		s, spec := h.moduleSite(a, "web")
		h.apply(spec)
		h.see("web", "/see/x", nil)
		l := startLoadAlso(h, "web", 4, 100, false, "offline")
		for n := range 5 {
			s.put("app_offline.htm", "x")
			if n%2 == 0 {
				s.offline("x")
			}
			s.remove("app_offline.htm")
			if n%2 == 1 {
				s.online()
			}
		}
		s.online()
		before := l.total()
		h.eventually("the load is answered again", func() bool { return l.total() > before+20 })
		l.end(t)
	})
}

// What has begun when the file appears comes to its end, however long its client takes.
func TestModuleOffline_HalfSentPostsFinish(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		s, spec := h.moduleSite(a, "web")
		h.apply(spec)
		h.see("web", "/see/x", nil)
		const half = "the first half, "
		clients := make([]*client, 10)
		for n := range clients {
			c := h.wire()
			c.send(t, "POST %s HTTP/1.1\nHost: web.test\n", a.takes)
			if n%2 == 0 {
				c.send(t, "Content-Length: %d\n\n%s", 2*len(half), half)
			} else {
				c.send(t, "Transfer-Encoding: chunked\n\n%x\n%s\n", len(half), half)
			}
			clients[n] = c
		}
		h.eventually("all are in flight", func() bool { return h.inFlight("web") == int32(len(clients)) })
		s.put("app_offline.htm", "x")
		s.offline("x")
		if len(h.live("web")) != 1 {
			t.Fatalf("it did not wait: %v", h.live("web"))
		}
		for n, c := range clients {
			if n%2 == 0 {
				c.send(t, half)
			} else {
				c.send(t, "%x\n%s\n0\n\n", len(half), half)
			}
			if resp, body := c.receive(t, http.MethodPost); resp.StatusCode != http.StatusOK || !contains(body, sumOf([]byte(half+half))) {
				t.Errorf("POST %d: %d %s", n, resp.StatusCode, body)
			}
		}
		h.eventually("it has ended", func() bool { return h.count("web", "InstanceExited") == 1 })
		h.wantExit("web", "exited with code 0", "202")
	})
}

// WebSockets do not keep an app from going: they are closed, and their peers told so.
func TestModuleOffline_WebSocketsAreClosed(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		s, spec := h.moduleSite(a, "web")
		spec.Requests = &roostv1.Requests{Websockets: roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_CLOSE}
		h.apply(spec)
		for _, change := range []func(){func() { s.touch("web.config") }, func() { s.put("app_offline.htm", "x") }} {
			c, _ := h.moduleSocket(t, "web", "", websocket.CompressionDisabled)
			echoes(t, c, []byte("there"))
			change()
			if got := closedWith(t, c); got != websocket.StatusGoingAway {
				t.Errorf("closed with %d, want 1001", got)
			}
		}
		s.offline("x")
		s.empty()
	})
}
