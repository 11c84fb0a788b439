package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Twenty clients give one app orders at the same time, while requests come: at
// no moment are there more instances than wanted and one, those that were told
// to end aside, and never two of an app that must not overlap. In the end the
// app is what the last order says.
func TestFault_ConcurrentVerbsConverge(t *testing.T) {
	f := fault(t, "8", "200 orders to one app from 20 clients at once, again and again")
	f.Parallel()
	tests := map[string]struct {
		overlap bool
		most    int
		count   func([]*roostv1.Instance) int
	}{
		"overlapped": {true, 2, countUp},
		"alone":      {false, 1, func(list []*roostv1.Instance) int { return len(list) }},
	}
	for name, tt := range tests {
		f.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			version := func(v string) *roostv1.AppSpec {
				spec := h.versioned("web", v)
				spec.Recycle.Overlap = &tt.overlap
				return spec
			}
			h.apply(version("1"))
			h.get("web", "/").wants(t, http.StatusOK)
			sampled := h.sample(tt.most, tt.count)
			for round := range f.size(1, 10) {
				var clients sync.WaitGroup
				for n := range 20 {
					clients.Go(func() { f.count("orders", h.orders(n, version)) })
				}
				clients.Wait()
				last := fmt.Sprint("last ", round)
				h.apply(version(last))
				if _, err := h.apps.StartApp(t.Context(), &roostv1.StartAppRequest{Name: "web"}); err != nil {
					t.Fatal(err)
				}
				h.eventually("it is at rest", func() bool {
					a := h.app("web")
					return a.State == roostv1.AppState_APP_STATE_RUNNING && a.Ready == 1 && len(h.inFolder("web")) == 1 &&
						a.ServingGeneration == a.DesiredGeneration
				})
				if got := h.get("web", "/").wants(t, http.StatusOK).json(t)["version"]; got != last {
					t.Errorf("version %v serves, want %s", got, last)
				}
			}
			samples, over := sampled()
			f.count("samples", samples)
			f.lost("samples with too many instances", over)
		})
	}
}

// sample counts instances again and again, until the function it returns is called,
// which tells how often, and how often there were more than most.
func (h *host) sample(most int, count func([]*roostv1.Instance) int) (ended func() (samples, over int)) {
	stop, done := make(chan struct{}), make(chan struct{})
	samples, over := 0, 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			resp, err := h.instances.ListInstances(h.Context(), &roostv1.ListInstancesRequest{App: "web"})
			if err != nil {
				continue
			}
			samples++
			if count(resp.Instances) > most {
				over++
			}
		}
	}()
	return func() (int, int) {
		close(stop)
		<-done
		return samples, over
	}
}

// orders gives a client's share of them. What it is answered does not matter,
// only that nothing but a conflict is refused.
func (h *host) orders(n int, version func(string) *roostv1.AppSpec) (given int) {
	const share = 10
	for i := range share {
		var err error
		switch (n + i) % 5 {
		case 0:
			_, err = h.apps.RecycleApp(h.Context(), &roostv1.RecycleAppRequest{Name: "web"})
		case 1:
			_, err = h.apps.StopApp(h.Context(), &roostv1.StopAppRequest{Name: "web"})
		case 2:
			_, err = h.apps.StartApp(h.Context(), &roostv1.StartAppRequest{Name: "web"})
		case 3:
			_, err = h.apps.ApplyApps(h.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{version(fmt.Sprint(n, i))}})
		case 4:
			h.get("web", "/")
		}
		if err != nil && status.Code(err) != codes.FailedPrecondition { // a recycle of a stopped app
			h.Errorf("client %d, order %d: %v", n, i, err)
		}
	}
	return share
}

// countUp counts the instances that are not on their way out.
func countUp(list []*roostv1.Instance) int {
	n := 0
	for _, i := range list {
		switch i.Phase {
		case roostv1.InstancePhase_INSTANCE_PHASE_STARTING, roostv1.InstancePhase_INSTANCE_PHASE_READY,
			roostv1.InstancePhase_INSTANCE_PHASE_UNREADY:
			n++
		}
	}
	return n
}
