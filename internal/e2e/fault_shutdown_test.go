package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// A daemon ends as it is told to: with all that it has started, or with none of it.
func TestFault_ShutdownModes(t *testing.T) {
	f := fault(t, "32", "shutdown of all, one app slow to stop; detach; with a process that SIGKILL does not end")
	f.Parallel()
	slow := func(h *host) {
		spec := h.shell("slow", untilTerm("sleep 2; exit 0"))
		h.apply(spec, h.spec("deaf", "-tree", "2"))
		h.get("deaf", "/").wants(h, 200)
		h.eventually("both run", func() bool { return len(h.serving()) == 2 })
	}
	f.Run("all", func(t *testing.T) {
		h := newHost(t)
		slow(h)
		code, out, errs := h.ctl("", "shutdown", "-o", "json")
		if code != 0 || !strings.Contains(out, `"stopped": 2`) && !strings.Contains(out, `"stopped":2`) {
			t.Errorf("exit %d, %s%s", code, out, errs)
		}
		<-h.daemon.exited
		f.lost("processes that outlived a shutdown", len(h.inFolder("slow"))+len(h.inFolder("deaf")))
		f.lost("clean exits", count(h.daemon.err != nil))
	})
	f.Run("detach", func(t *testing.T) {
		h := newHost(t)
		slow(h)
		before := h.serving()
		if code, out, errs := h.ctl("", "shutdown", "--detach"); code != 0 || !strings.Contains(out+errs, "2 instances left running") {
			t.Errorf("exit %d, %s%s", code, out, errs)
		}
		<-h.daemon.exited
		left := h.inFolder("slow")
		f.lost("apps that a detaching daemon took along", count(!alive(int(before["slow"])))+count(!alive(int(before["deaf"]))))
		f.count("processes left to run", len(left)+len(h.inFolder("deaf")))
		h.startDaemon()
		h.eventually("both are known again", func() bool {
			after := h.serving()
			return after["slow"] == before["slow"] && after["deaf"] == before["deaf"]
		})
	})
	f.Run("lingering", func(t *testing.T) {
		h := newHost(t)
		spec := h.shell("stuck", "exec sleep 1000")
		spec.Stop = &roostv1.Stop{Timeout: durationpb.New(stopTimeout), Drain: durationpb.New(0)}
		web := h.spec("web")
		web.Stop = spec.Stop // the longest stop is what a shutdown has time for
		h.apply(spec, web)
		h.get("web", "/").wants(t, 200)
		h.eventually("both run", func() bool { return len(h.serving()) == 2 })
		pid := int(h.serving()["stuck"])
		thaw := hang(t, pid)
		code, _, errs := h.ctl("", "shutdown", "--timeout", "2m")
		want := fmt.Sprintf("stuck (instance %s, pids [%d])", h.instanceOf(pid), pid)
		if code != 1 || !strings.Contains(errs, want) {
			t.Errorf("exit %d, %s, want it to name %s", code, errs, want)
		}
		<-h.daemon.exited
		f.lost("names of what lingers", count(!strings.Contains(errs, want)))
		if code := h.daemon.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(h.daemon.output(), "lingers") {
			t.Errorf("roostd: exit %d, want 1 and a line that names it", code)
		}
		h.startDaemon() // which can do all but end that one
		h.get("web", "/").wants(t, 200)
		thaw()
		h.eventually("it has ended at last", func() bool { return !alive(pid) })
	})
}

// instanceOf is the instance that a process says it is of.
func (h *host) instanceOf(pid int) string {
	h.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		h.Fatal(err)
	}
	for entry := range strings.SplitSeq(string(data), "\x00") {
		if id, ok := strings.CutPrefix(entry, "ROOST_INSTANCE="); ok {
			return id
		}
	}
	return ""
}

// hang has a process hang in the kernel, where no signal reaches it, until thaw.
func hang(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	const freezer = "/sys/fs/cgroup/freezer"
	dir := filepath.Join(freezer, "roost-e2e-"+strconv.Itoa(pid))
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		t.Skip("needs a cgroup v1 freezer beside v2")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("needs a cgroup v1 freezer: %v", err)
	}
	write := func(name, value string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	thaw = func() { write("freezer.state", "THAWED") }
	t.Cleanup(func() {
		thaw()
		for os.Remove(dir) != nil && alive(pid) { // it must be empty
			time.Sleep(5 * time.Millisecond)
		}
		_ = os.Remove(dir)
	})
	write("cgroup.procs", strconv.Itoa(pid))
	write("freezer.state", "FROZEN")
	return thaw
}

// What short-lived processes leave behind comes down to the keeper, which reaps it.
func TestFault_ShortOrphansLeaveNoZombies(t *testing.T) {
	f := fault(t, "32", "an app starts thousands of processes and waits for none")
	f.Parallel()
	h := newHost(f)
	n := f.size(1000, 10_000)
	h.apply(h.shell("orphans", `i=0; while [ $i -lt $0 ]; do (/bin/true &); i=$((i+1)); done; echo done > finished; exec sleep 1000`, strconv.Itoa(n)))
	h.within(10*patience, "all were started", func() bool {
		_, err := os.Stat(filepath.Join(h.dir, "apps", "orphans", "finished"))
		return err == nil
	})
	f.count("orphans", n)
	h.keeper()
	h.eventually("none is left", func() bool { return zombies(h.keeperPID) == 0 })
	f.lost("zombies", zombies(h.keeperPID))
	h.daemon.end(syscall.SIGTERM)
}

// zombies counts those of a parent.
func zombies(parent int) int {
	n := 0
	list, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range list {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		n += count(strings.HasPrefix(rest, "Z "+strconv.Itoa(parent)+" "))
	}
	return n
}
