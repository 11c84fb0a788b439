package e2e

import (
	"net/http"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// BenchmarkCrashReplacement reports how long an app of one instance is away
// when its process is killed: from SIGKILL to the first answer of its
// replacement, less the time the same program takes by itself from exec to a
// listening socket.
func BenchmarkCrashReplacement(b *testing.B) {
	h := newHost(b)
	spec := h.spec("web")
	spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(100))}
	h.apply(spec)
	h.get("web", "/").wants(b, http.StatusOK)
	var boots, away []time.Duration
	for b.Loop() {
		b.StopTimer()
		boots = append(boots, ownBoot(b))
		// Each is the first crash for a while: the budget and the backoff begin anew.
		h.rollout(h.recycle("web"))
		old := h.pids("web")[0]
		b.StartTimer()
		start := time.Now()
		kill(b, old)
		h.answeredByAnother(old)
		away = append(away, time.Since(start))
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	boot, gap := median(boots), median(away)
	b.ReportMetric(ms(boot), "boot-ms")
	b.ReportMetric(ms(gap), "away-ms")
	b.ReportMetric(ms(gap-boot), "overhead-ms")
	b.ReportMetric(0, "ns/op")
}

// answeredByAnother asks until a process other than old answers; the proxy holds
// the request meanwhile.
func (h *host) answeredByAnother(old int32) {
	h.Helper()
	for {
		r := h.get("web", "/")
		if r.status == http.StatusOK && int32(r.json(h)["pid"].(float64)) != old {
			return
		}
		if r.status != http.StatusOK && r.status != http.StatusBadGateway {
			h.Fatalf("%v", r)
		}
	}
}
