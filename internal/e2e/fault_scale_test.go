package e2e

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Whatever apps are started and end, again and again, leaves nothing behind.
func TestFault_RestartsLeaveNothing(t *testing.T) {
	f := fault(t, "21", "workers crash and web apps are killed, again and again; then what the programs take up is as before")
	f.Parallel()
	h := newHost(f)
	c := &churn{host: h, f: f}
	for _, name := range strings.Fields("a b c d e f g h")[:f.size(2, 8)] {
		c.workers = append(c.workers, c.crasher(name))
	}
	for name, mode := range map[string]roostv1.ListenMode{
		"port": roostv1.ListenMode_LISTEN_MODE_PORT, "fd": roostv1.ListenMode_LISTEN_MODE_FD, "unix": roostv1.ListenMode_LISTEN_MODE_UNIX,
	} {
		spec := h.spec(name)
		spec.Listen = &roostv1.Listen{Mode: mode}
		spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(100)), Backoff: durationpb.New(0), MaxBackoff: durationpb.New(0)}
		spec.Logs = c.littleOutput()
		c.webs = append(c.webs, spec)
	}
	h.apply(append(c.workers, c.webs...)...)
	c.round(1, 3) // until as much output is kept as may be
	goroutines := h.goroutines()
	c.round(f.size(0, 1), 3) // with programs as they have now been started
	before := c.rest(nil)
	for range f.size(1, 12) {
		c.round(1, f.size(5, 40))
	}
	after := c.rest(before)
	for _, what := range after.over(before, c.slack) {
		f.lost(what, 1)
	}
	for _, what := range h.goroutines().over(goroutines, c.slack) {
		f.lost(what, 1)
	}
	f.lost("descriptors, goroutines, files, cgroups", 0)
}

// churn has apps start and end.
type churn struct {
	*host
	f       *faultCase
	workers []*roostv1.AppSpec // end as soon as they have begun
	webs    []*roostv1.AppSpec
	kills   atomic.Int32 // of webs
}

// crashesInARow is how often a worker is started until it is blocked.
const crashesInARow = 101

// littleOutput keeps what can be kept of 50 instances that write next to nothing.
func (c *churn) littleOutput() *roostv1.Logs {
	return &roostv1.Logs{MaxSize: 1 << 20, MaxFiles: new(int32(1))}
}

func (c *churn) crasher(name string) *roostv1.AppSpec {
	s := c.spec("crasher-" + name)
	s.Command, s.Routes = []string{"/bin/sh", "-c", "sleep 100 & echo crashed; exit 3"}, nil
	s.Listen = &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}
	s.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}
	s.Recycle.MinReady = durationpb.New(0)
	s.Restart = &roostv1.Restart{
		RapidFailsPerMinute: new(int32(crashesInARow - 1)), Backoff: durationpb.New(0), MaxBackoff: durationpb.New(0),
	}
	s.Logs = c.littleOutput()
	return s
}

// round has each worker crash until it is blocked, so many times over, while each web
// app is killed as often as kills says.
func (c *churn) round(times, kills int) {
	c.Helper()
	var wg sync.WaitGroup
	for _, s := range c.workers {
		wg.Go(func() {
			for range times {
				c.crashAway(s.Name)
			}
		})
	}
	for _, s := range c.webs {
		wg.Go(func() {
			for range kills {
				c.killServing(s.Name)
			}
		})
	}
	wg.Wait()
	if c.Failed() {
		c.FailNow()
	}
}

// crashAway starts a worker and waits until it is blocked. It runs beside the test's
// goroutine, and so fails the test without ending it.
func (c *churn) crashAway(name string) {
	if _, err := c.apps.StartApp(c.Context(), &roostv1.StartAppRequest{Name: name}); err != nil {
		c.Error(err)
		return
	}
	for deadline := time.Now().Add(4 * patience); ; time.Sleep(20 * time.Millisecond) {
		resp, err := c.apps.GetApp(c.Context(), &roostv1.GetAppRequest{Name: name})
		switch {
		case err != nil:
			c.Error(err)
			return
		case resp.App.State == roostv1.AppState_APP_STATE_BLOCKED:
			c.f.count("crashes", crashesInARow)
			return
		case time.Now().After(deadline):
			c.Errorf("%s is never blocked: %v", name, resp.App)
			return
		}
	}
}

// killServing kills a web app that has just answered.
func (c *churn) killServing(name string) {
	if _, err := c.apps.StartApp(c.Context(), &roostv1.StartAppRequest{Name: name}); err != nil { // lifts the crash budget
		c.Error(err)
		return
	}
	r := c.get(name, "/")
	if r.status != http.StatusOK {
		c.Errorf("%s: %v", name, r)
		return
	}
	resp, err := c.instances.ListInstances(c.Context(), &roostv1.ListInstancesRequest{App: name})
	if err != nil {
		c.Error(err)
		return
	}
	for _, i := range resp.Instances {
		if i.Phase == roostv1.InstancePhase_INSTANCE_PHASE_READY {
			kill(c, i.Pid)
			c.f.count("kills", 1)
			c.kills.Add(1)
		}
	}
}

// rest waits until nothing of the workers runs, each web app serves with one
// instance, and all is taken up that is going to be given back; then it returns what
// is taken up. Against before it waits until that is no more than then.
func (c *churn) rest(before footprint) footprint {
	c.Helper()
	for _, s := range c.webs {
		c.within(2*patience, s.Name+" serves with one instance", func() bool {
			return c.get(s.Name, "/").status == http.StatusOK && len(c.live(s.Name)) == 1 && c.app(s.Name).Ready == 1
		})
	}
	for _, s := range c.workers {
		c.within(2*patience, s.Name+" has ended", func() bool { return len(c.live(s.Name)) == 0 })
	}
	ctx, cancel := context.WithTimeout(c.Context(), 2*patience)
	defer cancel()
	began := time.Now()
	for {
		p := c.footprint()
		steady := before != nil && len(p.over(before, c.slack)) == 0
		if before == nil {
			last := p
			p = c.footprint()
			steady = len(p.over(last, func(string) int { return 0 })) == 0
		}
		if steady || ctx.Err() != nil {
			c.f.slowest("rest", time.Since(began))
			c.Logf("at rest after %v: %v", time.Since(began), p)
			return p
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// slack is by how much what is counted may differ without a leak: connections that
// come and go, the last ended instances of each app that are still shown, folders
// with one or with two files of output, and what the heaps of programs that do the
// same hold at different times.
func (c *churn) slack(what string) int {
	const shown = 20
	switch {
	case what == "keeper goroutines":
		return shown*len(c.webs) + 10
	case strings.HasSuffix(what, "goroutines"):
		return 10
	case strings.HasSuffix(what, "MiB"):
		return c.f.size(64, 12)
	case what == "state folder files":
		// Of the web apps less output is kept at first than may be.
		const kept, each = 51, 12
		return each * (len(c.workers) + min(int(c.kills.Load()), kept*len(c.webs)))
	case strings.HasSuffix(what, "descriptors"):
		return 8
	}
	return 2
}

// A thousand apps are no trouble for one daemon.
func TestFault_ManyApps(t *testing.T) {
	f := fault(t, "21", "1,000 apps (200 in the short form), a part of them running; the daemon is killed, then all is stopped")
	f.Parallel()
	h := newHost(f)
	specs := h.sleepers(f.size(200, 1000))
	for _, s := range specs {
		s.Recycle.MinReady = durationpb.New(0)
	}
	running := specs[:f.size(20, 200)]
	timed := func(what string, do func()) {
		began := time.Now()
		do()
		f.slowest(what, time.Since(began))
	}
	timed("apply", func() { h.apply(specs...) })
	timed("start", func() { h.startAll(running) })
	f.count("apps", len(specs))
	f.count("running", len(running))
	before := h.serving()
	f.lost("running apps", len(running)-len(before))
	timed("ps", func() { f.lost("lines of ps", len(running)-strings.Count(h.ctlOut("ps", "-o", "name"), "\n")) })
	timed("ls", func() { f.lost("lines of ls", len(specs)-strings.Count(h.ctlOut("ls", "-o", "name"), "\n")) })
	timed("watch", func() { f.lost("apps of a watch", len(specs)-h.watched()) })
	h.daemon.end(syscall.SIGKILL)
	timed("ready again", func() {
		h.startDaemon()
		h.eventually("the daemon knows them all again", func() bool { return len(h.serving()) == len(running) })
	})
	f.lost("pids", count(!maps.Equal(before, h.serving())))
	timed("shutdown", func() { h.daemon.end(syscall.SIGTERM) })
	f.lost("processes not stopped", len(h.processes())-1) // the proxy
	f.lost("cgroups not removed", len(h.cgroups()))
	h.startDaemon()
	f.lost("apps after all", len(specs)-strings.Count(h.ctlOut("ls", "-o", "name"), "\n"))
}

// watched is how many apps a watch begins with.
func (h *host) watched() (n int) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	stream, err := h.apps.WatchApps(ctx, &roostv1.WatchAppsRequest{})
	if err != nil {
		h.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			h.Fatal(err)
		}
		n += len(m.GetSnapshot().GetApps())
		if m.GetSnapshot().GetLastChunk() {
			return n
		}
	}
}
