package e2e

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// floodLines are what the readers of these benchmarks read, of 100 bytes each.
const floodLines = 250_000

func newFloodHost(b *testing.B) *host {
	h := newHost(b)
	spec := h.spec("web")
	spec.Logs = &roostv1.Logs{MaxSize: 10 << 20, MaxFiles: new(int32(100))} // nothing is deleted
	h.apply(spec)
	h.get("web", "/").wants(b, http.StatusOK)
	return h
}

// perLine reports how fast lines were read, and how fast they would be were the
// daemon alone on a CPU.
func perLine(b *testing.B, lines int, took, cpu time.Duration) {
	const mb = 100.0 / 1e6
	b.ReportMetric(float64(lines)/took.Seconds(), "lines/s")
	b.ReportMetric(float64(lines)*mb/took.Seconds(), "MB/s")
	b.ReportMetric(float64(lines)*mb/cpu.Seconds(), "MB/cpu-s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkReadLogs_History reads what there is, by ReadLogs over the daemon's socket.
func BenchmarkReadLogs_History(b *testing.B) {
	h := newFloodHost(b)
	h.get("web", "/flood?lines="+strconv.Itoa(floodLines)).wants(b, http.StatusOK)
	h.eventually("all of it is on disk", func() bool { return h.newestByte("web") >= floodLines*100 })
	lines, used := 0, cpu(b, h.daemon.pid())
	b.ResetTimer()
	for b.Loop() {
		stream, err := h.logs.ReadLogs(b.Context(), &roostv1.ReadLogsRequest{App: "web"})
		for err == nil {
			var m *roostv1.ReadLogsResponse
			m, err = stream.Recv()
			lines += len(m.GetBatch().GetEntries())
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
	perLine(b, lines, b.Elapsed(), cpu(b, h.daemon.pid())-used)
}

// BenchmarkReadLogs_Follow reads while the app writes as fast as it can.
func BenchmarkReadLogs_Follow(b *testing.B) {
	h := newFloodHost(b)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	stream, err := h.logs.ReadLogs(ctx, &roostv1.ReadLogsRequest{App: "web", Follow: true, Cursor: h.endOf("web")})
	if err != nil {
		b.Fatal(err)
	}
	lines, used := 0, cpu(b, h.daemon.pid())
	b.ResetTimer()
	for rounds := 1; b.Loop(); rounds++ {
		flooded := make(chan reply, 1)
		go func() { flooded <- h.get("web", "/flood?lines="+strconv.Itoa(floodLines)) }()
		for lines < rounds*floodLines {
			m, err := stream.Recv()
			if err != nil {
				b.Fatal(err)
			}
			lines += len(m.GetBatch().GetEntries())
		}
		(<-flooded).wants(b, http.StatusOK)
	}
	perLine(b, lines, b.Elapsed(), cpu(b, h.daemon.pid())-used)
}
