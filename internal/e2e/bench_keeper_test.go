package e2e

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// reportMillis reports the median of what took so long.
func reportMillis(b *testing.B, list []time.Duration, unit string) {
	b.Helper()
	b.ReportMetric(float64(median(list))/float64(time.Millisecond), unit)
}

// BenchmarkCrashToExec reports how long it takes from an app's death to the first
// instruction of what replaces it: from SIGKILL to the word that a line of shell
// says, less the time that the same line takes by itself.
func BenchmarkCrashToExec(b *testing.B) {
	h := newHost(b)
	const line = "echo up > up; exec sleep 1000"
	spec := h.shell("web", line)
	spec.Recycle.MinReady = durationpb.New(20 * time.Millisecond)
	spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(100))}
	fifo := filepath.Join(spec.Dir, "up")
	if err := errorsOf(syscall.Mkfifo(fifo, 0o666), os.Chmod(fifo, 0o666)); err != nil {
		b.Fatal(err)
	}
	file, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	words := bufio.NewReader(file)
	hear := func() {
		if _, err := words.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
	}
	h.apply(spec)
	hear()
	var boots, away []time.Duration
	for b.Loop() {
		b.StopTimer()
		alone := exec.Command("/bin/sh", "-c", line)
		alone.Dir = spec.Dir
		start := time.Now()
		if err := alone.Start(); err != nil {
			b.Fatal(err)
		}
		hear()
		boots = append(boots, time.Since(start))
		end(alone)
		// Each is the first crash for a while: the budget and the backoff begin anew.
		h.rollout(h.recycle("web"))
		hear()
		old := h.pids("web")[0]
		b.StartTimer()
		start = time.Now()
		kill(b, old)
		hear()
		away = append(away, time.Since(start))
		b.StopTimer()
		h.eventually("it is ready", func() bool { return h.serving()["web"] != 0 && h.serving()["web"] != old })
		b.StartTimer()
	}
	reportMillis(b, boots, "boot-ms")
	reportMillis(b, away, "away-ms")
	b.ReportMetric(float64(median(away)-median(boots))/float64(time.Millisecond), "crash-to-exec-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkReadopt reports how long it takes until 200 instances are known again
// after the death of the daemon (from the start of the next one), of the keeper
// (from its death), and of both (from the start of the next daemon).
func BenchmarkReadopt(b *testing.B) {
	const apps, each = 2, 100
	h := newHost(b)
	for n := range apps {
		spec := h.shell(fmt.Sprint("app", n), "exec sleep 100000")
		spec.Instances = new(int32(each))
		spec.Recycle.MinReady = durationpb.New(20 * time.Millisecond)
		h.apply(spec)
	}
	h.within(4*patience, "all run", func() bool { return len(h.ready()) == apps*each })
	before := h.ready()
	known := func(start time.Time) time.Duration {
		h.eventually("all are known again", func() bool { return maps.Equal(h.ready(), before) })
		return time.Since(start)
	}
	var daemon, keeper, both []time.Duration
	for b.Loop() {
		h.daemon.end(syscall.SIGKILL)
		start := time.Now()
		h.startDaemon()
		daemon = append(daemon, known(start))

		old := h.killKeeper()
		start = time.Now()
		h.nextKeeper(old)
		keeper = append(keeper, known(start))

		h.keeper()
		h.daemon.end(syscall.SIGKILL)
		h.killKeeper()
		start = time.Now()
		h.startDaemon()
		both = append(both, known(start))
	}
	reportMillis(b, daemon, "daemon-ms")
	reportMillis(b, keeper, "keeper-ms")
	reportMillis(b, both, "both-ms")
	b.ReportMetric(0, "ns/op")
}

// ready has the pids of all ready instances; empty where the daemon does not answer.
func (h *host) ready() map[string]int32 {
	list, err := h.instances.ListInstances(h.Context(), &roostv1.ListInstancesRequest{})
	if err != nil {
		return nil
	}
	pids := map[string]int32{}
	for _, i := range list.Instances {
		if i.Phase == roostv1.InstancePhase_INSTANCE_PHASE_READY {
			pids[i.Id] = i.Pid
		}
	}
	return pids
}
