package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// BenchmarkScale reports what roostd, its keeper and the proxy use while nothing
// happens, with 1,000 apps registered and 200 of them running, and how long it
// takes to get there and to look at it.
func BenchmarkScale(b *testing.B) {
	const registered, running = 1000, 200
	h := newHost(b)
	var took timings
	specs := h.sleepers(registered)
	took.of("apply-s", func() { h.apply(specs...) })
	took.of("start-s", func() { h.startAll(specs[:running]) })
	took.of("ps-ms", func() { h.ctlOut("ps") })
	took.of("ls-ms", func() { h.ctlOut("ls") })
	took.of("apply-again-ms", func() { h.apply(specs...) })
	keeper, _ := h.keeper()
	pids := map[string]int{"roostd": h.daemon.pid(), "keeper": keeper, "proxy": h.proxy.pid()}
	const span = 60 * time.Second
	for b.Loop() {
		time.Sleep(10 * time.Second) // what follows the starts settles
		before := map[string]usage{}
		for name, pid := range pids {
			before[name] = usageOf(b, pid)
		}
		time.Sleep(span)
		for name, pid := range pids {
			u := usageOf(b, pid)
			b.ReportMetric(100*float64(u.cpu-before[name].cpu)/float64(span), name+"-%core")
			b.ReportMetric(float64(u.rss)/(1<<20), name+"-MiB")
			b.ReportMetric(float64(pss(b, pid))/(1<<20), name+"-PSS-MiB")
		}
		took.report(b)
		b.ReportMetric(0, "ns/op")
	}
}

// timings is how long each of several things took.
type timings map[string]time.Duration

// of takes the time of f. The name ends in the unit that it is reported in, -s or -ms.
func (t *timings) of(name string, f func()) {
	if *t == nil {
		*t = timings{}
	}
	start := time.Now()
	f()
	(*t)[name] = time.Since(start)
}

func (t timings) report(b *testing.B) {
	for name, d := range t {
		unit := time.Second
		if strings.HasSuffix(name, "-ms") {
			unit = time.Millisecond
		}
		b.ReportMetric(float64(d)/float64(unit), name)
	}
}

// sleepers are apps that do nothing, and are started by hand.
func (h *host) sleepers(n int) []*roostv1.AppSpec {
	specs := make([]*roostv1.AppSpec, n)
	for i := range specs {
		s := h.spec(fmt.Sprintf("sleeper%04d", i))
		s.Command, s.Routes = []string{"/bin/sleep", "1000000"}, nil
		s.Listen = &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}
		s.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_MANUAL}
		specs[i] = s
	}
	return specs
}

// startAll starts apps, all at once, and waits until they are ready.
func (h *host) startAll(specs []*roostv1.AppSpec) {
	h.Helper()
	rollouts := make([]string, len(specs))
	for i, s := range specs {
		resp, err := h.apps.StartApp(h.Context(), &roostv1.StartAppRequest{Name: s.Name})
		if err != nil {
			h.Fatal(err)
		}
		rollouts[i] = resp.RolloutId
	}
	for _, id := range rollouts {
		if r := h.rollout(id); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
			h.Fatalf("%v", r)
		}
	}
}

// pss is a process's memory with what it shares counted in part.
func pss(t testing.TB, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, _ := strconv.ParseInt(kib, 10, 64)
			return n << 10
		}
	}
	t.Fatalf("no Pss in %s", b)
	return 0
}
