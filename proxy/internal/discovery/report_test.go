package discovery

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
)

// loadReport returns what m says of app, nil for nothing.
func loadReport(m *roostv1.ReportRequest, app string) *roostv1.AppLoad {
	loads := m.GetLoad().GetLoads()
	if i := slices.IndexFunc(loads, func(l *roostv1.AppLoad) bool { return l.App == app }); i >= 0 {
		return loads[i]
	}
	return nil
}

// reporting is a reader of a daemon's reports, in order.
type reporting struct {
	*fakedaemon.Daemon
	read int
}

// await returns what the next report says of app that ok accepts, and how long
// it took to come.
func (d *reporting) await(t *testing.T, app string, ok func(*roostv1.AppLoad) bool) (*roostv1.AppLoad, time.Duration) {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, read := d.Await(ctx, d.read, func(m *roostv1.ReportRequest) bool {
		l := loadReport(m, app)
		return l != nil && ok(l)
	})
	if m == nil {
		t.Fatalf("no such report of %s", app)
	}
	d.read = read
	return loadReport(m, app), time.Since(begin)
}

func TestReport_HelloThenAllLoads(t *testing.T) {
	d := fakedaemon.New(1, set("a", 3, "a1"), set("b", 1))
	inBubble(t, d, func(t *testing.T, r *rig) {
		settle()
		reports := d.Reports()
		hello := reports[0].GetHello()
		if hello.GetProxyId() == "" || hello.GetVersion() != "v1" || len(hello.GetListeners()) != 2 {
			t.Fatalf("first report %v, want a hello", reports[0])
		}
		if l := hello.Listeners[1]; l.Kind != roostv1.ListenerKind_LISTENER_KIND_HTTPS || l.Port != 8443 {
			t.Errorf("listener %v, want https at 8443", l)
		}
		if !reports[1].GetLoad().GetComplete() {
			t.Errorf("second report %v, want a complete load", reports[1])
		}
		for _, m := range reports[2:] {
			if m.GetLoad().GetComplete() {
				t.Errorf("report %v is complete again", m)
			}
		}
		rep := &reporting{Daemon: d}
		if l, _ := rep.await(t, "a", func(l *roostv1.AppLoad) bool { return l.Revision == 3 }); l.Epoch != 1 || len(l.Instances) != 1 {
			t.Errorf("load %v, want epoch 1 and an instance", l)
		}
	})
}

func TestReport_AppliedSetIsAcknowledgedAtOnce(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1, "a1"))
	inBubble(t, d, func(t *testing.T, r *rig) {
		time.Sleep(10*time.Second + 300*time.Millisecond)
		rep := &reporting{Daemon: d, read: len(d.Reports())}
		d.Publish(set("a", 2, "a1", "a2"))
		if _, took := rep.await(t, "a", func(l *roostv1.AppLoad) bool { return l.Revision == 2 }); took != 0 {
			t.Errorf("acknowledged after %v, want at once", took)
		}
	})
}

func TestReport_DrainedInstanceIsReportedAtOnce(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1, "a1"))
	inBubble(t, d, func(t *testing.T, r *rig) {
		synctest.Wait()
		lease, _ := r.Registry().Get("a").Acquire(nil)
		rep := &reporting{Daemon: d}
		rep.await(t, "a", func(l *roostv1.AppLoad) bool { return l.InFlight == 1 })
		d.Publish(drained(set("a", 2, "a1")))
		rep.await(t, "a", func(l *roostv1.AppLoad) bool { return l.Revision == 2 && l.InFlight == 1 })
		time.Sleep(300 * time.Millisecond)
		lease.Release()
		l, took := rep.await(t, "a", func(l *roostv1.AppLoad) bool { return l.InFlight == 0 })
		if took != 0 || l.Revision != 2 {
			t.Errorf("%v after %v, want revision 2 at once", l, took)
		}
	})
}

func TestReport_RequestsAreReportedTogether(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1, "a1"))
	inBubble(t, d, func(t *testing.T, r *rig) {
		settle()
		before := len(d.Reports())
		for range 1000 {
			r.acquire("a")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		reports := d.Reports()[before:]
		if len(reports) != 1 || loadReport(reports[0], "a").GetRequests() != 1000 {
			t.Errorf("reports %v, want one with 1000 requests", reports)
		}
	})
}

func TestReport_RemovedAppIsNamedOnceItIsEmpty(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1, "a1"))
	inBubble(t, d, func(t *testing.T, r *rig) {
		settle()
		lease, _ := r.Registry().Get("a").Acquire(nil)
		settle()
		d.Remove("a")
		removed := func(m *roostv1.ReportRequest) bool {
			return slices.Contains(m.GetLoad().GetRemovedApps(), "a")
		}
		settle()
		if slices.ContainsFunc(d.Reports(), removed) {
			t.Fatal("named while a request is open")
		}
		lease.Release()
		synctest.Wait()
		if !slices.ContainsFunc(d.Reports(), removed) {
			t.Error("not named at once when the last request ended")
		}
	})
}

func TestReport_FailuresGoOutAtOnceAndNeverBlock(t *testing.T) {
	d := fakedaemon.New(1)
	inBubble(t, nil, func(t *testing.T, r *rig) {
		for range 10 * maxFailures {
			r.Failed("a", "a1", io.EOF)
		}
		defer r.serve(d)()
		settle()
		r.Failed("a", "a2", os.ErrDeadlineExceeded)
		synctest.Wait()
		var last *roostv1.EndpointFailure
		n := 0
		for _, m := range d.Reports() {
			if f := m.GetFailure(); f != nil {
				last = f
				n++
			}
		}
		if n != maxFailures+1 {
			t.Errorf("%d failures, want %d", n, maxFailures+1)
		}
		if last.GetInstance() != "a2" || last.GetKind() != roostv1.FailureKind_FAILURE_KIND_CONNECT_TIMEOUT || last.GetDetail() == "" {
			t.Errorf("last failure %v", last)
		}
	})
}

func TestKindOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want roostv1.FailureKind
	}{
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, roostv1.FailureKind_FAILURE_KIND_REFUSED},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ENOENT)}, roostv1.FailureKind_FAILURE_KIND_REFUSED},
		{&net.OpError{Err: os.ErrDeadlineExceeded}, roostv1.FailureKind_FAILURE_KIND_CONNECT_TIMEOUT},
		{&net.OpError{Err: os.NewSyscallError("read", syscall.ECONNRESET)}, roostv1.FailureKind_FAILURE_KIND_RESET},
		{io.EOF, roostv1.FailureKind_FAILURE_KIND_RESET},
		{errors.New("no HTTP"), roostv1.FailureKind_FAILURE_KIND_PROTOCOL},
	} {
		if got := kindOf(tt.err); got != tt.want {
			t.Errorf("kindOf(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestReport_SaysGoodbye(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1, "a1"))
	inBubble(t, d, func(t *testing.T, r *rig) {
		settle()
		r.acquire("a")
		r.stop()
		reports := d.Reports()
		if reports[len(reports)-1].GetGoodbye() == nil {
			t.Errorf("last report %v, want a goodbye", reports[len(reports)-1])
		}
		if l := loadReport(reports[len(reports)-2], "a"); l.GetRequests() != 1 {
			t.Errorf("before it %v, want the last load", reports[len(reports)-2])
		}
	})
}

func TestReport_BeginsAnewWithANewDaemon(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		stop := r.serve(fakedaemon.New(1, set("a", 5, "a1")))
		settle()
		stop()
		d := fakedaemon.New(2, set("a", 1, "a1"))
		defer r.serve(d)()
		settle()
		reports := d.Reports()
		if len(reports) < 2 || reports[0].GetHello() == nil || !reports[1].GetLoad().GetComplete() {
			t.Fatalf("reports %v, want a hello and a complete load", reports)
		}
		rep := &reporting{Daemon: d}
		rep.await(t, "a", func(l *roostv1.AppLoad) bool { return l.Epoch == 2 && l.Revision == 1 })
	})
}

func TestLoads_AppThatIsBackIsJoinedWithItsOpenRequests(t *testing.T) {
	var l loads
	m := l.next([]backend.Load{
		{App: "a", Epoch: 1, Revision: 9, Instances: []backend.InstanceLoad{{ID: "new"}}},
		{App: "a", Epoch: 1, Revision: 2, InFlight: 1, Instances: []backend.InstanceLoad{{ID: "old", InFlight: 1, Requests: 7}}},
	}, nil)
	if len(m.Loads) != 1 {
		t.Fatalf("%v, want one load", m)
	}
	if a := m.Loads[0]; a.Revision != 9 || a.InFlight != 1 || len(a.Instances) != 2 {
		t.Errorf("%v, want revision 9 with 1 in flight at one of 2 instances", a)
	} else if n := a.Instances[1].Requests; n != 7 {
		t.Errorf("the second instance got %d requests, want 7", n)
	}
}
