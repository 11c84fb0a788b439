package e2e

import (
	"net/http"
	"slices"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// numbers are an app's generations, newest first, as history tells them.
func (h *host) numbers(name string) []int64 {
	h.Helper()
	resp, err := h.apps.ListGenerations(h.Context(), &roostv1.ListGenerationsRequest{Name: name})
	if err != nil {
		h.Fatal(err)
	}
	var list []int64
	for _, g := range resp.Generations {
		list = append(list, g.Number)
	}
	return list
}

func TestGenerations_SurviveARestartAndARemoval(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for n := range 3 {
		h.apply(h.versioned("web", itoa(int32(n+1))))
	}
	h.get("web", "/").wants(t, http.StatusOK)
	want := []int64{3, 2, 1}
	if got := h.numbers("web"); !slices.Equal(got, want) {
		t.Fatalf("generations %v, want %v", got, want)
	}
	if got := h.apply(h.versioned("web", "3"))[0].Action; got != roostv1.ApplyAction_APPLY_ACTION_UNCHANGED {
		t.Errorf("the same apply again: %v", got)
	}
	h.daemon.end(syscall.SIGKILL)
	h.startDaemon()
	if got := h.numbers("web"); !slices.Equal(got, want) {
		t.Errorf("after a restart, generations %v, want %v", got, want)
	}
	h.ctlOut("rollback", "web", "--to", "1")
	if got := h.get("web", "/").wants(t, http.StatusOK).json(t)["version"]; got != "1" {
		t.Errorf("after a rollback to 1, version %v serves", got)
	}
	if a := h.app("web"); a.DesiredGeneration != 4 || a.ServingGeneration != 4 {
		t.Errorf("desired %d, serving %d, want 4", a.DesiredGeneration, a.ServingGeneration)
	}
	h.ctlOut("rm", "web")
	if code, _, _ := h.ctl("", "get", "web"); code != 3 {
		t.Errorf("get of a removed app: exit %d", code)
	}
	if r := h.get("web", "/").wants(t, http.StatusNotFound); r.header.Get("Roost-Error") != "no-route" {
		t.Errorf("%v", r)
	}
	if left := h.inFolder("web"); len(left) > 0 {
		t.Errorf("processes left by rm: %v", left)
	}
	h.daemon.end(syscall.SIGKILL)
	h.startDaemon()
	h.apply(h.versioned("web", "5"))
	if got := h.numbers("web"); !slices.Equal(got, []int64{5}) {
		t.Errorf("applied again after rm: generations %v, want 5", got)
	}
}

func TestGenerations_OnlyTheLast20AreKept(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for n := range 23 {
		h.apply(h.versioned("web", itoa(int32(n))))
	}
	if got := h.numbers("web"); len(got) != 20 || got[0] != 23 || got[19] != 4 {
		t.Errorf("generations %v, want 23 to 4", got)
	}
	if code, _, stderr := h.ctl("", "rollback", "web", "--to", "3"); code == 0 || !contains(stderr, "3") {
		t.Errorf("rollback to a forgotten one: exit %d: %s", code, stderr)
	}
}

func TestGenerations_NewerApplySupersedesARollout(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.versioned("web", "1"))
	h.get("web", "/").wants(t, http.StatusOK)
	l := startLoad(h, "web", 4, 100, true)
	begin := func(spec *roostv1.AppSpec) string {
		t.Helper()
		resp, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}})
		if err != nil {
			t.Fatal(err)
		}
		return resp.Results[0].RolloutId
	}
	older := begin(h.versioned("web", "2", "-never"))
	h.eventually("the second version has a process", func() bool { return len(h.inFolder("web")) == 2 })
	newer := begin(h.versioned("web", "3"))
	if r := h.rollout(older); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_SUPERSEDED {
		t.Errorf("the older one: %v", r)
	}
	if r := h.rollout(newer); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
		t.Errorf("the newer one: %v", r)
	}
	if got := h.get("web", "/").wants(t, http.StatusOK).json(t)["version"]; got != "3" {
		t.Errorf("version %v serves, want 3", got)
	}
	if left := h.inFolder("web"); len(left) != 1 {
		t.Errorf("processes %v, want one", left)
	}
	l.end(t)
}

func TestGenerations_EtagsKeepWritersApart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.versioned("web", "1"), h.versioned("api", "1"))
	seen := h.app("web").Etag
	write := func(version, etag string) error {
		_, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{
			Specs: []*roostv1.AppSpec{h.versioned("api", version), h.versioned("web", version)}, Etags: map[string]string{"web": etag},
		})
		return err
	}
	if err := write("2", seen); err != nil {
		t.Fatal(err)
	}
	if err := write("3", seen); status.Code(err) != codes.Aborted || !contains(err.Error(), "web") {
		t.Errorf("a stale etag: %v", err)
	}
	for _, name := range []string{"web", "api"} {
		if got := h.app(name).Spec.Env["VERSION"]; got != "2" {
			t.Errorf("%s has version %s: a refused write was applied in part", name, got)
		}
	}
	_, err := h.apps.DeleteApp(t.Context(), &roostv1.DeleteAppRequest{Name: "web", Etag: seen})
	if status.Code(err) != codes.Aborted {
		t.Errorf("rm with a stale etag: %v", err)
	}
}
