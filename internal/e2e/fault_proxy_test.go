package e2e

import (
	"context"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Instances die, with a daemon that takes note of it and without one, and no request
// that may be sent again is lost.
func TestFault_InstancesDieUnderLoad(t *testing.T) {
	f := fault(t, "31", "one of two instances is killed under load, with a daemon and without; cold requests wait for the daemon")
	f.Parallel()
	h := newHost(f)
	spec := h.spec("web")
	spec.Instances = new(int32(2))
	spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(100))}
	h.apply(spec, h.spec("cold"), h.spec("colder"))
	h.get("web", "/").wants(f, http.StatusOK)
	h.eventually("two are ready", func() bool { return h.app("web").Ready == 2 })
	l := startLoad(h, "web", 20, 500, false)

	for range f.size(3, 20) {
		before := l.total()
		h.eventually("the load runs", func() bool { return l.total() > before+100 })
		victim := h.live("web")[0]
		removed, began := h.watchRemoval("web", victim.Id), time.Now()
		kill(f, victim.Pid)
		removed()
		f.slowest("endpoint removed after", time.Since(began))
		f.count("kills", 1)
		h.eventually("another takes its place", func() bool {
			pids := h.pids("web")
			return h.app("web").Ready == 2 && len(pids) == 2 && !slices.Contains(pids, victim.Pid)
		})
		for _, i := range h.live("web") {
			h.eventually("it answers requests", func() bool { return l.answered(i.Id) > 0 })
		}
	}

	for range f.size(1, 5) {
		victim := h.live("web")[0]
		h.daemon.end(syscall.SIGKILL)
		kill(f, victim.Pid)
		f.count("kills", 2)
		before := l.total()
		h.eventually("the load runs", func() bool { return l.total() > before+100 })
		h.startDaemon()
		h.eventually("another takes its place", func() bool {
			pids := h.pids("web")
			return h.app("web").Ready == 2 && len(pids) == 2 && !slices.Contains(pids, victim.Pid)
		})
		for _, i := range h.live("web") {
			h.eventually("it answers requests", func() bool { return l.answered(i.Id) > 0 })
		}
	}

	// A cold request waits for a daemon, but not for ever.
	h.daemon.end(syscall.SIGKILL)
	r := h.get("colder", "/")
	f.lost("refusals", count(r.status != http.StatusServiceUnavailable || r.header.Get("Roost-Error") != "daemon-unreachable"))
	waits := make(chan reply, 1)
	go func() { waits <- h.get("cold", "/") }()
	began := time.Now()
	h.startDaemon()
	f.lost("cold requests", count((<-waits).status != http.StatusOK))
	f.slowest("cold request after the daemon", time.Since(began))
	l.tell(f)
	f.lost("connections", l.dials-20)
}

// watchRemoval watches as a proxy does, and returns a function that waits until an
// instance is no endpoint of its app any more.
func (h *host) watchRemoval(name, instance string) (wait func()) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	stream, err := roostv1.NewRoutingServiceClient(h.conn).Watch(ctx, &roostv1.WatchRequest{})
	if err != nil {
		h.Fatal(err)
	}
	until := func(is bool) {
		h.Helper()
		for {
			m, err := stream.Recv()
			if err != nil {
				h.Fatalf("instance %s of %s as an endpoint, %v: %v", instance, name, is, err)
			}
			for _, set := range slices.Concat(m.GetSnapshot().GetSets(), m.GetDelta().GetUpserts()) {
				has := slices.ContainsFunc(set.Endpoints, func(e *roostv1.Endpoint) bool { return e.Instance == instance })
				if set.App == name && has == is {
					return
				}
			}
		}
	}
	until(true)
	return func() {
		h.Helper()
		defer cancel()
		until(false)
	}
}
