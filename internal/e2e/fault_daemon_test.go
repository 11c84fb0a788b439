package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// rightWithin is how long after its start a daemon must know all its apps again.
const rightWithin = 2 * time.Second

// Many apps serve while their daemon is killed again and again.
func TestFault_DaemonDiesUnderLoad(t *testing.T) {
	f := fault(t, "1", "50 apps under load, the daemon is killed with SIGKILL, again and again")
	h := newHost(f)
	var specs []*roostv1.AppSpec
	for n := range 50 {
		specs = append(specs, h.spec("app"+itoa(int32(n))))
	}
	h.apply(specs...)
	var loads []*load
	for _, s := range specs {
		loads = append(loads, startLoad(h, s.Name, 2, f.size(10, 20), true))
	}
	h.eventually("all serve", func() bool { return len(h.serving()) == len(specs) })
	before := h.serving()

	for range f.size(3, 10) {
		h.daemon.end(syscall.SIGKILL)
		f.count("kills", 1)
		h.allServe(loads, f.size(2, 30))
		began := time.Now()
		h.startDaemon()
		var after map[string]int32
		h.eventually("the daemon knows them all again", func() bool {
			after = h.serving()
			return len(after) == len(specs)
		})
		took := time.Since(began)
		f.slowest("states right after", took)
		if f.full() { // the short form may share its machine with others
			f.lost("daemons late", count(took > rightWithin))
		}
		changed := 0
		for name, pid := range before {
			changed += count(after[name] != pid)
		}
		f.lost("pids", changed)
	}
	for _, l := range loads {
		l.tell(f)
		f.lost("connections", l.dials-2)
	}
}

// allServe waits until each load has got n answers more.
func (h *host) allServe(loads []*load, n int) {
	h.Helper()
	var before []int
	for _, l := range loads {
		before = append(before, l.total())
	}
	h.eventually("all are served", func() bool {
		return !slices.ContainsFunc(loads, func(l *load) bool { return l.total() < before[slices.Index(loads, l)]+n })
	})
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// serving has the pid of each app that the daemon says runs, with one ready
// instance; empty where the daemon does not answer.
func (h *host) serving() map[string]int32 {
	list, err := h.apps.ListApps(h.Context(), &roostv1.ListAppsRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil
	}
	instances, err := h.instances.ListInstances(h.Context(), &roostv1.ListInstancesRequest{})
	if err != nil {
		return nil
	}
	pids := map[string]int32{}
	for _, i := range instances.Instances {
		if i.Phase == roostv1.InstancePhase_INSTANCE_PHASE_READY {
			pids[i.App] = i.Pid
		}
	}
	for _, a := range list.Apps {
		if a.State != roostv1.AppState_APP_STATE_RUNNING || a.Ready != 1 {
			delete(pids, a.Name)
		}
	}
	return pids
}
