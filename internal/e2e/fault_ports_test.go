package e2e

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// An app is reached wherever in its tree it listens on its port, and is never taken
// for ready where it does not.
func TestFault_PortsAreFound(t *testing.T) {
	f := fault(t, "23", "an app listens on ::1 only, on two ports, by a grandchild, on another port than its own; its port moves")
	f.Parallel()
	h := newHost(f)
	reached := map[string][]string{
		"v6": {"-ipv6"}, "two": {"-two"}, "grandchild": {"-deep", "2"}, "all": {"-ipv6", "-two", "-deep", "2"},
	}
	elsewhere, moves, leaves := h.spec("elsewhere", "-other-port"), h.spec("moves"), h.spec("leaves")
	elsewhere.Start = &roostv1.Start{Timeout: durationpb.New(3 * time.Second)}
	leaves.Start = elsewhere.Start
	specs := []*roostv1.AppSpec{elsewhere, moves, leaves}
	for name, args := range reached {
		specs = append(specs, h.spec(name, args...))
	}
	h.apply(specs...)
	for name := range reached {
		r := h.get(name, "/")
		f.count("apps", 1)
		f.lost("apps", count(r.status != http.StatusOK))
		f.lost("starts too many", h.count(name, "InstanceStarting")-1)
	}

	r := h.get("elsewhere", "/")
	f.lost("refusals", count(r.status != http.StatusBadGateway))
	why := ""
	for _, e := range h.seen("elsewhere") {
		if e.Id == "StartFailed" {
			why = e.Message
		}
	}
	if !strings.Contains(why, "127.0.0.1:") {
		f.Errorf("the failed start does not say where it listens: %s", why)
	}

	h.get("moves", "/").wants(f, http.StatusOK)
	l := startLoad(h, "moves", 5, 100, true)
	for range f.size(2, 20) {
		n := l.total()
		h.get("moves", "/reload").wants(f, http.StatusOK)
		f.count("reloads", 1)
		h.eventually("it is served", func() bool { return l.total() > n+20 })
	}
	l.tell(f)
	f.lost("starts too many", h.count("moves", "InstanceStarting")-1)

	// One that moves away is not ready any more, once the proxy needs a new connection
	// to it, and replaced when that has lasted.
	h.get("leaves", "/").wants(f, http.StatusOK)
	lost := h.pids("leaves")[0]
	h.get("leaves", "/reload?to=elsewhere").wants(f, http.StatusOK)
	h.eventually("somebody finds out", func() bool {
		var busy sync.WaitGroup // more than the proxy has connections to it
		for range 20 {
			busy.Go(func() { h.get("leaves", "/sleep?for=500ms") })
		}
		busy.Wait()
		// A daemon that was looking already does not tell of the report.
		return h.count("leaves", "EndpointFailure") > 0 || !slices.Contains(h.pids("leaves"), lost)
	})
	h.replaced("leaves", lost)
	f.lost("apps", count(h.get("leaves", "/").status != http.StatusOK))
}
