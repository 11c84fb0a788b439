package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// smallDisk is a file system of its own.
func smallDisk(f *faultCase, size string) string {
	f.Helper()
	dir, err := os.MkdirTemp("", "roost-disk")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.Remove(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		f.Skipf("cannot mount a small file system: %v", err)
	}
	f.Cleanup(func() { _ = syscall.Unmount(dir, 2) }) // MNT_DETACH
	return dir
}

// fillDisk takes all room that is left.
func fillDisk(f *faultCase, dir string) (free func()) {
	f.Helper()
	hog, err := os.Create(filepath.Join(dir, "hog"))
	if err != nil {
		f.Fatal(err)
	}
	defer hog.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = hog.Write(block)
	}
	return func() {
		if err := os.Remove(hog.Name()); err != nil {
			f.Fatal(err)
		}
	}
}

// A full disk stops no app: what it cannot take is counted, everything is as it was
// once there is room, and no line is torn.
func TestFault_DiskFullAndBack(t *testing.T) {
	f := fault(t, "13", "the disks of the logs and of the state are full, while apps serve and write, and have room again")
	f.Parallel()
	logs, state := smallDisk(f, "64m"), smallDisk(f, "32m")
	args := []string{"--state-dir", state, "--log-dir", logs, "--log-max-total", "1GiB"}
	h := newHost(f, args...)
	h.apply(h.counter("counter", 20_000), h.spec("web"))
	h.get("web", "/").wants(f, http.StatusOK)
	before := h.serving()
	freeLogs := fillDisk(f, logs)
	h.eventually("an event tells of what is lost", func() bool { return h.count("counter", "OutputDropped") == 1 })
	freeState := fillDisk(f, state)
	for range 20 {
		h.get("web", "/").wants(f, http.StatusOK)
		f.count("requests", 1)
	}
	// A write and a start fail, and say why, or work.
	_, err := h.apps.ApplyApps(f.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{h.spec("late")}})
	if err != nil && !strings.Contains(err.Error(), "the state could not be written") {
		f.Errorf("apply: %v", err)
	}
	if r := h.get("late", "/"); r.err != nil || !slices.Contains([]int{200, 404, 502}, r.status) {
		f.Errorf("late: %v", r)
	}
	dropped := func() (bytes, lines int64) {
		for _, i := range h.live("counter") {
			bytes, lines = bytes+i.OutputDroppedBytes, lines+i.OutputDroppedLines
		}
		return bytes, lines
	}
	h.eventually("it is counted", func() bool { n, _ := dropped(); return n > 1<<20 })
	freeState()
	freeLogs()
	h.eventually("an event tells that it is over", func() bool { return h.count("counter", "OutputResumed") == 1 })
	if after := h.serving(); after["counter"] != before["counter"] || after["web"] != before["web"] {
		f.Errorf("%v run, want %v", after, before)
	}
	h.daemon.end(syscall.SIGKILL)
	h.startDaemon(args...)
	h.eventually("the daemon knows all again", func() bool { return len(h.serving()) >= 2 })
	_, lines := dropped()
	h.stop("counter")
	var n numbered
	for line := range h.lines("counter") {
		n.see(line)
	}
	f.count("lines", n.next)
	f.count("lines dropped and counted", int(lines))
	f.lost("lines neither there nor counted", max(0, n.missing-int(lines)))
	f.lost("lines torn", n.torn)
	f.lost("lines repeated", n.repeated)
	f.lost("app's last words", count(!n.ended))
	h.rollout(h.recycle("web"))
	h.get("web", "/").wants(f, http.StatusOK)
}

// A leader's end is seen at once though a child that lives on holds its output, and
// what that wrote before it is killed is kept.
func TestFault_AChildHoldsTheOutput(t *testing.T) {
	f := fault(t, "28", "a grandchild holds stdout, and writes, when the leader has ended")
	f.Parallel()
	h := newHost(f)
	spec := h.shell("web", `(trap '' TERM; setsid sh -c 'trap "" TERM; while :; do echo late; sleep 0.01; done' &) ; echo early; sleep 0.3; exit 7`)
	spec.Restart = &roostv1.Restart{When: roostv1.RestartWhen_RESTART_WHEN_NEVER}
	spec.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}
	_, err := h.apps.ApplyApps(f.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}})
	if err != nil {
		f.Fatal(err)
	}
	h.eventually("its end is known", func() bool { return h.count("web", "InstanceExited")+h.count("web", "StartFailed") == 1 })
	h.eventually("nothing of it is left", func() bool { return len(h.live("web")) == 0 })
	early, late := 0, 0
	for line := range h.lines("web") {
		early += count(line == "early\n")
		late += count(line == "late\n")
	}
	f.count("late lines", late)
	f.lost("first line", count(early != 1))
	f.lost("late lines", count(late < 5))
}

// An app that waits for room for its output waits on when the keeper dies, and loses
// nothing; told to stop, it stops.
func TestFault_BlockedAppOutlivesItsKeeper(t *testing.T) {
	f := fault(t, "-", "the keeper is killed while an app waits for room for its output; the limit is raised; it is stopped")
	f.Parallel()
	h := newHost(f)
	spec := h.counter("counter", 50_000)
	limit := func(files int32) {
		spec.Logs = &roostv1.Logs{MaxSize: 256 << 10, MaxFiles: &files, WhenFull: roostv1.WhenFull_WHEN_FULL_BLOCK}
		h.apply(spec)
	}
	limit(4)
	for n := range int32(f.size(2, 5)) {
		h.eventually("it waits", func() bool { return h.condition("counter", "OutputBlocked") })
		h.nextKeeper(h.killKeeper())
		f.count("keepers killed", 1)
		size := h.stdoutSize("counter")
		limit(8 + 4*n)
		h.eventually("it goes on", func() bool { return h.stdoutSize("counter") > size+256<<10 })
	}
	h.eventually("it waits", func() bool { return h.condition("counter", "OutputBlocked") })
	h.stop("counter")
	var n numbered
	for line := range h.lines("counter") {
		n.see(line)
	}
	n.tell(f, "counter")
}
