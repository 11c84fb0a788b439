package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Each kind of readiness: an app that runs is not asked before it is ready,
// and at once when it is.
func TestReady_RequestsWaitUntilTheAppSaysSo(t *testing.T) {
	t.Parallel()
	interval := durationpb.New(20 * time.Millisecond)
	tests := map[string]struct {
		gated string // what in the app waits for the gate
		probe func(gate string) *roostv1.Probe
	}{
		"listening socket": {"listen", func(string) *roostv1.Probe { return nil }},
		"tcp": {"listen", func(string) *roostv1.Probe {
			return &roostv1.Probe{Check: &roostv1.Probe_Tcp{Tcp: &roostv1.TcpCheck{}}}
		}},
		"http": {"health", func(string) *roostv1.Probe {
			return &roostv1.Probe{Check: &roostv1.Probe_Http{Http: &roostv1.HttpCheck{Path: "/health"}}, Interval: interval}
		}},
		"exec": {"none", func(gate string) *roostv1.Probe {
			return &roostv1.Probe{Check: &roostv1.Probe_Exec{Exec: &roostv1.ExecCheck{Command: []string{"test", "-e", gate}}}, Interval: interval}
		}},
		"log": {"log", func(string) *roostv1.Probe {
			return &roostv1.Probe{Check: &roostv1.Probe_Log{Log: &roostv1.LogCheck{Pattern: "ready to (serve|work)"}}}
		}},
		"notify": {"notify", func(string) *roostv1.Probe {
			return &roostv1.Probe{Check: &roostv1.Probe_Notify{Notify: &roostv1.NotifyCheck{}}}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			gate := filepath.Join(h.dir, "gate")
			spec := h.spec("web", "-gate", gate, "-gated", tt.gated)
			spec.Ready = tt.probe(gate)
			h.apply(spec)
			answer := make(chan reply, 1)
			go func() { answer <- h.get("web", "/") }()
			h.eventually("it has a process", func() bool { return len(h.pids("web")) == 1 && h.pids("web")[0] > 0 })
			h.eventually("it has come as far as it can", func() bool { return h.ctlOut("logs", "web") != "" })
			for range 20 { // some intervals of the probe
				if got := h.live("web")[0].Phase; got != roostv1.InstancePhase_INSTANCE_PHASE_STARTING {
					t.Fatalf("with its gate closed it is %v", got)
				}
				time.Sleep(5 * time.Millisecond)
			}
			select {
			case r := <-answer:
				t.Fatalf("answered with its gate closed: %v", r)
			default:
			}
			touch(t, gate)
			(<-answer).wants(t, http.StatusOK)
			if n := h.count("web", "InstanceStarting"); n != 1 {
				t.Errorf("%d starts", n)
			}
		})
	}
}

func touch(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
}

// ctlOut is what roostctl prints, and fails the test where it exits with
// something else than 0.
func (h *host) ctlOut(args ...string) string {
	h.Helper()
	code, stdout, stderr := h.ctl("", args...)
	if code != 0 {
		h.Fatalf("roostctl %v: exit %d: %s", args, code, stderr)
	}
	return stdout
}

func TestReady_StartTimeoutSaysWhatWasMissing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web", "-gate", "/no/such", "-gated", "health")
	spec.Start = &roostv1.Start{Timeout: durationpb.New(700 * time.Millisecond)}
	spec.Ready = &roostv1.Probe{Check: &roostv1.Probe_Http{Http: &roostv1.HttpCheck{Path: "/health"}}}
	h.apply(spec)
	r := h.get("web", "/").wants(t, http.StatusBadGateway)
	if got := r.header.Get("Roost-Error"); got != "start-timeout" {
		t.Errorf("Roost-Error %q, want start-timeout", got)
	}
	if code, _, stderr := h.ctl("", "start", "web"); code != 1 || !contains(stderr, "503") || !contains(stderr, "/health") || !contains(stderr, "700ms") {
		t.Errorf("roostctl start: exit %d, does not name 503, /health and 700ms: %s", code, stderr)
	}
	h.eventually("nothing is left of it", func() bool { return len(h.inFolder("web")) == 0 })
}

// A slow app's requests wait no longer than the queue allows, and no more of
// them than fit.
func TestStart_TheQueueHasAnEnd(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web", "-gate", filepath.Join(h.dir, "gate"))
	spec.Requests = &roostv1.Requests{Queue: new(int32(3)), QueueTimeout: durationpb.New(500 * time.Millisecond)}
	h.apply(spec)
	replies := h.together(10, "web")
	codes := map[string]int{}
	for _, r := range replies {
		codes[r.header.Get("Roost-Error")]++
		if want := map[string]int{"queue-full": 503, "queue-timeout": 504}[r.header.Get("Roost-Error")]; r.status != want {
			t.Errorf("%v", r)
		}
		if r.status == 503 && r.header.Get("Retry-After") == "" {
			t.Errorf("queue-full without Retry-After: %v", r)
		}
	}
	if codes["queue-timeout"] != 3 || codes["queue-full"] != 7 {
		t.Errorf("answers %v, want 3 of queue-timeout and 7 of queue-full", codes)
	}
	touch(t, filepath.Join(h.dir, "gate"))
	h.get("web", "/").wants(t, http.StatusOK)
	if n := h.count("web", "InstanceStarting"); n != 1 {
		t.Errorf("%d starts", n)
	}
}

func TestStart_BootAppsStartWithTheDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	web, idle := h.spec("web"), h.spec("idle")
	web.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}
	h.apply(web, idle) // returns when web is ready
	if a := h.app("web"); a.Ready != 1 {
		t.Fatalf("when apply returned, %d instances were ready", a.Ready)
	}
	old := h.pids("web")[0]
	h.daemon.end(15)
	if left := h.inFolder("web"); len(left) > 0 {
		t.Fatalf("left after the daemon: %v", left)
	}
	h.startDaemon()
	h.eventually("the boot app runs again", func() bool { return h.app("web").Ready == 1 })
	if pids := h.pids("web"); pids[0] == old {
		t.Errorf("pid %d has survived its end", old)
	}
	if got := h.app("idle").State; got != roostv1.AppState_APP_STATE_IDLE {
		t.Errorf("the other app is %v", got)
	}
}

// A boot app whose first start fails is an error of the apply, and is tried
// again without being asked for.
func TestStart_BootAppsAreRetried(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Command = []string{"/bin/sh", "-c", "test -e " + h.dir + "/fixed || { echo no database; exit 4; }; exec " + bin + "/testapp"}
	spec.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}
	resp, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}})
	if err != nil {
		t.Fatal(err)
	}
	r := h.rollout(resp.Results[0].RolloutId)
	if r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED || !contains(r.Message, "4") || !contains(r.Output, "no database") {
		t.Errorf("rollout %v", r)
	}
	h.eventually("it is tried again", func() bool { return h.count("web", "StartFailed") > 1 })
	touch(t, h.dir+"/fixed")
	h.eventually("it runs", func() bool { return h.app("web").Ready == 1 })
}

func TestStart_ManualAppsIgnoreRequests(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_MANUAL}
	h.apply(spec)
	r := h.get("web", "/").wants(t, http.StatusServiceUnavailable)
	if got := r.header.Get("Roost-Error"); got != "stopped" {
		t.Errorf("Roost-Error %q, want stopped", got)
	}
	if n := h.count("web", "InstanceStarting"); n != 0 {
		t.Errorf("%d starts", n)
	}
	h.ctlOut("start", "web")
	h.get("web", "/").wants(t, http.StatusOK)
}

func TestStart_WorkersRunUnaskedAndAreReplaced(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("worker", "-worker")
	spec.Routes, spec.Listen = nil, &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}
	h.apply(spec)
	if a := h.app("worker"); a.Ready != 1 {
		t.Fatalf("when apply returned, %d instances were ready", a.Ready)
	}
	i := h.live("worker")[0]
	if i.Address != "" || i.ReadyTime.AsTime().Sub(i.StartTime.AsTime()) < 300*time.Millisecond {
		t.Errorf("address %q, started %v, ready %v with a min_ready of 300ms", i.Address, i.StartTime.AsTime(), i.ReadyTime.AsTime())
	}
	for range 2 {
		old := h.pids("worker")[0]
		kill(t, old)
		h.eventually("another takes its place", func() bool {
			pids := h.pids("worker")
			return len(pids) == 1 && pids[0] != old && h.app("worker").Ready == 1
		})
	}
	h.ctlOut("stop", "worker")
	if left := h.inFolder("worker"); len(left) > 0 {
		t.Errorf("left when stop returned: %v", left)
	}
}
