package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// versioned is a spec whose answers name their version.
func (h *host) versioned(name, version string, args ...string) *roostv1.AppSpec {
	spec := h.spec(name, args...)
	spec.Env = map[string]string{"VERSION": version}
	return spec
}

func TestDeploy_RecycleAndApplyLoseNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.versioned("web", "1")
	spec.Instances = new(int32(2))
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)

	l := startLoad(h, "web", 20, 400, true)
	long := make(chan reply, 1)
	go func() { long <- h.get("web", "/sleep?for=5s") }()
	h.eventually("the long request is in flight", func() bool {
		return slices.ContainsFunc(h.live("web"), func(i *roostv1.Instance) bool { return i.InFlight > 0 })
	})
	old := h.pids("web")

	resp, err := h.apps.RecycleApp(t.Context(), &roostv1.RecycleAppRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	recycled := h.rollout(resp.RolloutId)
	if recycled.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
		t.Fatalf("recycle: %v", recycled)
	}
	if r := (<-long).wants(t, http.StatusOK); r.body != "xxxxxxxxxx" {
		t.Fatalf("the long answer was cut: %v", r)
	}
	for _, pid := range old {
		if _, err := os.Stat("/proc/" + itoa(pid)); err == nil {
			t.Errorf("pid %d of before the recycle is still there", pid)
		}
	}

	next := h.versioned("web", "2")
	next.Instances = new(int32(2))
	h.apply(next)
	if got := h.get("web", "/").wants(t, http.StatusOK).json(t)["version"]; got != "2" {
		t.Fatalf("version %v serves, want 2", got)
	}
	l.end(t)
}

func TestDeploy_BadVersionIsRolledBack(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"never ready":           {"-never"},
		"dies within min_ready": {"-die-after", "200ms"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.apply(h.versioned("web", "1"))
			h.get("web", "/").wants(t, http.StatusOK)
			l := startLoad(h, "web", 10, 200, true)

			bad := h.versioned("web", "2", args...)
			bad.Start = &roostv1.Start{Timeout: durationpb.New(time.Second)}
			bad.Recycle.MinReady = durationpb.New(time.Second)
			resp, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{bad}})
			if err != nil {
				t.Fatal(err)
			}
			failed := h.rollout(resp.Results[0].RolloutId)
			if failed.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED || failed.Message == "" {
				t.Fatalf("rollout: %v", failed)
			}
			l.end(t)

			serves := func(when string) {
				t.Helper()
				if got := h.get("web", "/").wants(t, http.StatusOK).json(t)["version"]; got != "1" {
					t.Fatalf("%s, version %v serves, want 1", when, got)
				}
			}
			serves("after the rollback")
			h.get("web", "/exit")
			serves("after a crash")
			h.daemon.end(9)
			h.startDaemon()
			serves("after a daemon restart")
			h.eventually("the new daemon has found it ready", func() bool { return h.app("web").Ready == 1 }) // else its end is a failed start
			h.get("web", "/exit")
			serves("after that and a crash")
			a := h.app("web")
			if !slices.ContainsFunc(a.Conditions, func(c *roostv1.Condition) bool { return c.Type == "RolloutFailed" }) {
				t.Errorf("no condition RolloutFailed: %v", a.Conditions)
			}
		})
	}
}

func TestDeploy_MovedLinkIsDeployedByApplyAndRolledBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	link := filepath.Join(h.dir, "current")
	move := func(to string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(h.dir, to), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(link)
		if err := os.Symlink(filepath.Join(h.dir, to), link); err != nil {
			t.Fatal(err)
		}
	}
	serves := func(want string) {
		t.Helper()
		if got := h.get("web", "/").wants(t, http.StatusOK).json(t)["dir"]; got != filepath.Join(h.dir, want) {
			t.Fatalf("it runs in %v, want %s", got, want)
		}
	}
	move("r1")
	spec.Dir = link
	h.apply(spec)
	serves("r1")
	move("r2")
	h.get("web", "/exit")
	serves("r1") // a crash deploys nothing
	if got := h.apply(spec)[0].Action; got != roostv1.ApplyAction_APPLY_ACTION_UPDATED {
		t.Fatalf("apply with a moved link: %v", got)
	}
	serves("r2")
	resp, err := h.apps.RollbackApp(t.Context(), &roostv1.RollbackAppRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	h.rollout(resp.RolloutId)
	serves("r1")
}

func TestDeploy_ScaleKeepsTheSurvivors(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(t, http.StatusOK)
	first := h.pids("web")[0]
	for _, n := range []int32{4, 2} {
		resp, err := h.apps.ScaleApp(t.Context(), &roostv1.ScaleAppRequest{Name: "web", Instances: n})
		if err != nil {
			t.Fatal(err)
		}
		h.rollout(resp.RolloutId)
		if pids := h.pids("web"); len(pids) != int(n) || !slices.Contains(pids, first) {
			t.Fatalf("scaled to %d: pids %v, %d among them expected", n, pids, first)
		}
	}
}

func TestDeploy_IdleAppIsStoppedAndComesBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Idle = &roostv1.Idle{After: durationpb.New(500 * time.Millisecond)}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	h.eventually("it is stopped", func() bool { return len(h.live("web")) == 0 })
	h.get("web", "/").wants(t, http.StatusOK)
	if r := h.get("web", "/sleep?for=2s").wants(t, http.StatusOK); r.body != "xxxxxxxxxx" {
		t.Fatalf("it was stopped under an open request: %v", r)
	}
}
