package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// recycled waits for the n-th event of an instance that is replaced unasked, and
// returns it.
func (h *host) recycled(name string, n int) *roostv1.Event {
	h.Helper()
	var last *roostv1.Event
	h.eventually("an instance is to be replaced, for the time "+strconv.Itoa(n), func() bool {
		found := 0
		for _, e := range h.seen(name) {
			if e.Id == "InstanceRecycled" {
				found++
				last = e
			}
		}
		return found >= n
	})
	return last
}

// wantTrigger checks what an event says of the rule behind it: the limit, and that
// as much or more was measured.
func wantTrigger(t testing.TB, e *roostv1.Event, trigger, limit string) {
	t.Helper()
	least, _ := strconv.ParseInt(limit, 10, 64)
	measured, err := strconv.ParseInt(e.Attributes["measured"], 10, 64)
	if e.Attributes["trigger"] != trigger || e.Attributes["limit"] != limit || err != nil || measured < least || e.Instance == "" {
		t.Errorf("event %v, want trigger %s with limit %s", e, trigger, limit)
	}
}

// replaced waits until a process is gone and another instance serves.
func (h *host) replaced(name string, pid int32) {
	h.Helper()
	h.eventually("another instance has taken over from pid "+itoa(pid), func() bool {
		pids := h.pids(name)
		return len(pids) == 1 && pids[0] != pid && syscall.Kill(int(pid), 0) != nil
	})
}

func TestRecycle_MaxRequestsUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Recycle.MaxRequests = 100
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	l := startLoad(h, "web", 10, 100, true)
	first := h.recycled("web", 1)
	wantTrigger(t, first, "recycle.max_requests", "100")
	second := h.recycled("web", 2)
	wantTrigger(t, second, "recycle.max_requests", "100")
	if first.Instance == second.Instance {
		t.Errorf("instance %s is replaced twice", first.Instance)
	}
	h.eventually("both are gone", func() bool {
		return !slices.ContainsFunc(h.live("web"), func(i *roostv1.Instance) bool {
			return i.Id == first.Instance || i.Id == second.Instance
		})
	})
	l.end(t)
}

func TestRecycle_MaxMemoryUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Recycle.MaxMemory = 100 << 20
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	pid := h.pids("web")[0]
	l := startLoad(h, "web", 10, 100, true)
	h.get("web", "/eat?mib=120").wants(t, http.StatusOK)
	wantTrigger(t, h.recycled("web", 1), "recycle.max_memory", strconv.Itoa(100<<20))
	h.replaced("web", pid)
	l.end(t)
	if n := h.count("web", "InstanceRecycled"); n != 1 {
		t.Errorf("%d instances were replaced, want the one", n)
	}
}

func TestRecycle_MaxAgeCountsAcrossDaemons(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Recycle.MaxAge = durationpb.New(5 * time.Second)
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	pid, began := h.pids("web")[0], h.live("web")[0].StartTime.AsTime()
	l := startLoad(h, "web", 5, 50, true)
	h.daemon.end(syscall.SIGKILL)
	h.startDaemon()
	e := h.recycled("web", 1)
	// The kernel tells a later daemon the age, in hundredths of a second.
	if age := e.Time.AsTime().Sub(began); e.Attributes["trigger"] != "recycle.max_age" || age < 5*time.Second-20*time.Millisecond {
		t.Errorf("event %v, when it is %v old", e, age)
	}
	h.replaced("web", pid)
	l.end(t)
}

// What was changed while no daemon was there is seen by the next one.
func TestWatch_AChangeWhileTheDaemonIsAwayCounts(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web", func(spec *roostv1.AppSpec) {
		spec.Recycle = &roostv1.Recycle{MinReady: durationpb.New(100 * time.Millisecond), Watch: []string{"web.config"}}
	})
	s.put("web.config", "0")
	s.online()
	pid := h.pids("web")[0]
	l := startLoad(h, "web", 4, 50, true)
	h.daemon.end(syscall.SIGKILL)
	s.put("web.config", "1")
	h.startDaemon()
	h.eventually("the app is recycled", func() bool { return h.count("web", "AppRecycled") == 1 })
	h.replaced("web", pid)
	l.end(t)
}

// One that hangs altogether is replaced as well, though it does not end when told.
func TestHealth_StoppedProcessIsReplaced(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Health = &roostv1.Health{
		Check:    &roostv1.Health_Http{Http: &roostv1.HttpCheck{Path: "/"}},
		Interval: durationpb.New(200 * time.Millisecond), Timeout: durationpb.New(time.Second), Failures: new(int32(2)),
	}
	spec.Stop = &roostv1.Stop{Timeout: durationpb.New(500 * time.Millisecond), Drain: durationpb.New(500 * time.Millisecond)}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	pid := h.pids("web")[0]
	if err := syscall.Kill(int(pid), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.replaced("web", pid)
	h.get("web", "/").wants(t, http.StatusOK)
	if h.count("web", "InstanceKilled") == 0 {
		t.Error("no event InstanceKilled")
	}
}

// A new instance that does not become ready leaves the old one alone.
func TestHealth_ReplacementThatFailsKeepsTheOldOne(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := filepath.Join(h.dir, "gate")
	spec := h.spec("web", "-gate", gate)
	spec.Start = &roostv1.Start{Timeout: durationpb.New(3 * time.Second)}
	spec.Health = &roostv1.Health{
		Check:    &roostv1.Health_Http{Http: &roostv1.HttpCheck{Path: "/health"}},
		Interval: durationpb.New(100 * time.Millisecond), Timeout: durationpb.New(500 * time.Millisecond), Failures: new(int32(2)),
	}
	touch(t, gate)
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	pid := h.pids("web")[0]
	l := startLoad(h, "web", 5, 50, true)
	if err := os.Remove(gate); err != nil { // no new one listens
		t.Fatal(err)
	}
	h.get("web", "/hang").wants(t, http.StatusOK)
	h.eventually("two attempts have failed", func() bool { return h.count("web", "RolloutFailed") >= 2 })
	a := h.app("web")
	if !slices.ContainsFunc(a.Conditions, func(c *roostv1.Condition) bool { return c.Type == "RecycleFailed" }) {
		t.Errorf("no condition RecycleFailed: %v", a.Conditions)
	}
	if pids := h.pids("web"); !slices.Contains(pids, pid) {
		t.Errorf("pid %d is gone: %v", pid, pids)
	}
	touch(t, gate)
	h.replaced("web", pid)
	h.eventually("the condition is gone", func() bool { return len(conditions(h.app("web"), "RecycleFailed")) == 0 })
	l.end(t)
}

func TestRapidFail_StopLastsUntilAnOperatorActs(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(1)), OnRapidFail: roostv1.OnRapidFail_ON_RAPID_FAIL_STOP}
	h.apply(spec)
	for n := range 2 {
		h.get("web", "/").wants(t, http.StatusOK)
		kill(t, h.pids("web")[0])
		h.eventually("the crash is told", func() bool { return h.count("web", "InstanceExited") == n+1 })
	}
	stopped := func(when string) {
		t.Helper()
		h.eventually("it is stopped "+when, func() bool { return h.app("web").State == roostv1.AppState_APP_STATE_STOPPED })
		if c := conditions(h.app("web"), "RapidFail"); len(c) != 1 || !strings.Contains(c[0].Message, "roostctl start web") {
			t.Errorf("%s: conditions %v", when, h.app("web").Conditions)
		}
		if r := h.get("web", "/").wants(t, http.StatusServiceUnavailable); r.header.Get("Roost-Error") != "stopped" {
			t.Errorf("%s: %v", when, r)
		}
	}
	stopped("after two crashes")
	if n := h.count("web", "AppRapidFail"); n != 1 {
		t.Errorf("%d events AppRapidFail, want one", n)
	}
	h.daemon.end(syscall.SIGKILL)
	h.startDaemon()
	stopped("after a daemon restart")
	resp, err := h.apps.StartApp(t.Context(), &roostv1.StartAppRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	h.rollout(resp.RolloutId) // the proxy has the news
	h.get("web", "/").wants(t, http.StatusOK)
	if c := conditions(h.app("web"), "RapidFail"); len(c) != 0 {
		t.Errorf("after a start: %v", c)
	}
}

func conditions(a *roostv1.App, kind string) []*roostv1.Condition {
	return slices.DeleteFunc(slices.Clone(a.Conditions), func(c *roostv1.Condition) bool { return c.Type != kind })
}

func TestWarmup_NoRequestMeetsAColdInstance(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Start = &roostv1.Start{Warmup: "/warm?status=500"}
	h.apply(spec)
	if r := h.get("web", "/warmed").wants(t, http.StatusOK); r.body != "true" {
		t.Fatalf("the first request meets a cold instance: %v", r)
	}
	resp, err := h.apps.RecycleApp(t.Context(), &roostv1.RecycleAppRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan *roostv1.Rollout, 1)
	go func() { ended <- h.rollout(resp.RolloutId) }()
	seen := map[string]bool{}
	for done := false; !done; {
		select {
		case r := <-ended:
			done = true
			if r.GetPhase() != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
				t.Errorf("recycle: %v", r)
			}
		default:
		}
		r := h.get("web", "/warmed").wants(t, http.StatusOK)
		if r.body != "true" {
			t.Fatalf("a request meets a cold instance: %v", r)
		}
		seen[r.header.Get("Instance")] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d instances have answered, want two", len(seen))
	}
	if n := h.count("web", "InstanceWarm"); n != 2 {
		t.Errorf("%d events InstanceWarm, want two", n)
	}
	h.eventually("the app has been asked as the proxy would", func() bool {
		return strings.Contains(h.ctlOut("logs", "web"), "warmed up by web.test, token true")
	})
}
