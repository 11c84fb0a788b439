package e2e

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// BenchmarkColdStart reports what a start costs beside the app's own boot: the
// time from a request to the first byte of its answer, less the time the same
// program takes from exec to a listening socket when it is run by itself. Both
// are taken in turn, so that the machine's moods meet both.
func BenchmarkColdStart(b *testing.B) {
	for name, mode := range map[string]roostv1.ListenMode{
		"port": roostv1.ListenMode_LISTEN_MODE_PORT,
		"fd":   roostv1.ListenMode_LISTEN_MODE_FD,
		"unix": roostv1.ListenMode_LISTEN_MODE_UNIX,
	} {
		b.Run(name, func(b *testing.B) {
			h := newHost(b)
			var boots, colds []time.Duration
			for b.Loop() {
				b.StopTimer()
				boots = append(boots, ownBoot(b))
				spec := h.spec("web" + strconv.Itoa(len(boots)))
				spec.Listen = &roostv1.Listen{Mode: mode}
				h.apply(spec)
				b.StartTimer()
				start := time.Now()
				h.firstByte(spec.Name)
				colds = append(colds, time.Since(start))
				b.StopTimer()
				h.stop(spec.Name)
				b.StartTimer()
			}
			report(b, boots, colds)
		})
	}
}

func report(b *testing.B, boots, colds []time.Duration) {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	boot, cold := median(boots), median(colds)
	b.ReportMetric(ms(boot), "boot-ms")
	b.ReportMetric(ms(cold), "cold-ms")
	b.ReportMetric(ms(cold-boot), "overhead-ms")
	b.ReportMetric(0, "ns/op") // a mean says nothing here
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// firstByte asks and waits for the first byte of the answer.
func (h *host) firstByte(name string) {
	c, err := dialClient(h.url)
	if err != nil {
		h.Fatal(err)
	}
	defer c.close()
	if _, err := c.conn.Write([]byte("GET / HTTP/1.1\r\nHost: " + name + ".test\r\n\r\n")); err != nil {
		h.Fatal(err)
	}
	line, err := c.r.ReadString('\n')
	if err != nil || line != "HTTP/1.1 200 OK\r\n" {
		h.Fatalf("%q %v", line, err)
	}
}

// ownBoot runs the test app by itself and returns the time from exec to a
// listening socket.
func ownBoot(b *testing.B) time.Duration {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	cmd := exec.Command(filepath.Join(bin, "testapp"))
	_, port, _ := net.SplitHostPort(addr)
	cmd.Env = []string{"PORT=" + port}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			took := time.Since(start)
			_ = c.Close()
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return took
		}
		time.Sleep(50 * time.Microsecond) // the poll of the measurement itself
	}
}

// usage is what a set of processes has used so far.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

// usageOf reads the CPU time and resident memory of processes.
func usageOf(t testing.TB, pids ...int) usage {
	t.Helper()
	var u usage
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		// Fields 14 and 15 are utime and stime in ticks of 10 ms, 24 is rss in
		// pages (proc_pid_stat(5)); field 2 may hold spaces.
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+2:])
		ticks := atoi(f[11]) + atoi(f[12])
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
		u.rss += atoi(f[21]) * int64(os.Getpagesize())
	}
	return u
}

func atoi(b []byte) int64 {
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return n
}

// BenchmarkIdle reports what roostd, its keeper and the proxy use while nothing
// happens: 100 apps registered, 20 of them running.
func BenchmarkIdle(b *testing.B) {
	h := newHost(b)
	specs := make([]*roostv1.AppSpec, 100)
	for i := range specs {
		specs[i] = h.spec("app" + strconv.Itoa(i))
	}
	h.apply(specs...)
	for _, s := range specs[:20] {
		h.get(s.Name, "/").wants(b, http.StatusOK)
	}
	info, err := h.system.GetInfo(b.Context(), &roostv1.GetInfoRequest{})
	if err != nil {
		b.Fatal(err)
	}
	pids := []int{h.daemon.pid(), int(info.KeeperPid), h.proxy.pid()}
	const span = 30 * time.Second
	for b.Loop() {
		time.Sleep(5 * time.Second) // what follows the starts settles
		before := usageOf(b, pids...)
		time.Sleep(span)
		after := usageOf(b, pids...)
		b.ReportMetric(100*float64(after.cpu-before.cpu)/float64(span), "%core")
		for i, name := range []string{"roostd-MiB", "keeper-MiB", "proxy-MiB"} {
			b.ReportMetric(float64(usageOf(b, pids[i]).rss)/(1<<20), name)
		}
		b.ReportMetric(0, "ns/op")
	}
}
