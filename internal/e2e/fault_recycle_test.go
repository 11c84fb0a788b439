package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// An app is recycled again and again while clients keep their connections busy. What
// does not end in time is ended; what is never ready is rolled back.
func TestFault_RecycleUnderLoad(t *testing.T) {
	f := fault(t, "11", "recycles under 2000 keep-alive requests/s, one with a request that never ends; a new version that is never ready")
	h := newHost(f)
	spec := h.versioned("web", "1")
	spec.Stop = &roostv1.Stop{Timeout: durationpb.New(time.Second), Drain: durationpb.New(time.Second)}
	h.apply(spec)
	h.get("web", "/").wants(f, http.StatusOK)
	l := startLoad(h, "web", 40, 2000, true)

	for range f.size(3, 20) {
		old, n := h.pids("web")[0], l.total()
		h.ctlOut("recycle", "web")
		f.count("recycles", 1)
		f.lost("pids still there", count(slices.Contains(h.inFolder("web"), int(old))))
		h.eventually("the load goes on", func() bool { return l.total() > n+200 })
	}

	endless := make(chan reply, 1)
	go func() { endless <- h.do(http.MethodPost, "web", "/sleep?for=1h", nil) }() // a GET would be sent once more
	h.eventually("it is in flight", func() bool { return h.count("web", "InstanceReady") > 0 && h.live("web")[0].InFlight > 0 })
	old, began := h.pids("web")[0], time.Now()
	h.ctlOut("recycle", "web")
	f.count("recycles", 1)
	f.slowest("drain and stop", time.Since(began))
	f.lost("pids still there", count(slices.Contains(h.inFolder("web"), int(old))))
	if r := <-endless; r.status != http.StatusBadGateway {
		f.Errorf("the endless request ended with %v", r)
	}

	bad := h.versioned("web", "2", "-never")
	bad.Start = &roostv1.Start{Timeout: durationpb.New(2 * time.Second)}
	for range f.size(1, 3) {
		resp, err := h.apps.ApplyApps(f.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{bad}})
		if err != nil {
			f.Fatal(err)
		}
		failed := h.rollout(resp.Results[0].RolloutId)
		f.count("bad versions", 1)
		f.lost("rollbacks", count(failed.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED || h.get("web", "/").wants(f, http.StatusOK).json(f)["version"] != "1"))
		bad.Env["AGAIN"] += "x"
	}
	l.tell(f)
	f.lost("connections", l.dials-40)
}
