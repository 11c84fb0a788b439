package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// replacedWithin is how long apps may be without a keeper.
const replacedWithin = time.Second

// The second keeper that is killed has only taken over what another had started.
func TestFault_KeeperDies(t *testing.T) {
	f := fault(t, "17", "the keeper is killed, then the one that took over, and so on, under load; the app of the last crashes")
	f.Parallel()
	h := newHost(f)
	h.apply(h.spec("web"), h.counter("lines", 1000))
	h.get("web", "/").wants(f, 200)
	h.eventually("both run", func() bool { return len(h.serving()) == 2 })
	before := h.serving()
	l := startLoad(h, "web", 4, 100, true)
	for range f.size(3, 10) {
		old := h.killKeeper()
		began := time.Now()
		h.nextKeeper(old)
		took := time.Since(began)
		f.count("kills", 1)
		f.slowest("replaced after", took)
		if f.full() { // the short form may share its machine with others
			f.lost("keepers late", count(took > replacedWithin))
		}
		h.goOnWriting([]string{"lines"}, 10_000)
		after := h.serving()
		f.lost("pids", count(after["web"] != before["web"])+count(after["lines"] != before["lines"]))
	}
	l.tell(f)
	h.stop("lines")
	var n numbered
	for line := range h.lines("lines") {
		n.see(line)
	}
	n.tell(f, "lines")
	kill(f, before["web"])
	h.eventually("a crash under an adopting keeper is mended", func() bool {
		pid := h.serving()["web"]
		return pid != 0 && pid != before["web"]
	})
	f.lost("exits", count(h.exitOf("web").Attributes["exit"] != "was ended by SIGKILL"))
}

// release is roostd and roost-exec of one version.
type release struct{ roostd, exec string }

// newRelease builds a roostd that says it is of a version.
func newRelease(t testing.TB, dir, version string) release {
	t.Helper()
	r := release{filepath.Join(dir, "roostd-"+version), filepath.Join(bin, "roost-exec")}
	cmd := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", r.roostd, "github.com/roostd/roost/daemon")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// install puts a release where another may be running from.
func (r release) install(t testing.TB, dir string) {
	t.Helper()
	for name, from := range map[string]string{"roostd": r.roostd, "roost-exec": r.exec} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".new"), data, 0o755)
		}
		if err == nil {
			err = os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A new version is put in the old one's place, then the daemon is restarted, and back
// again. In between, old daemon and keeper still work, the keeper that has to be
// started meanwhile included.
func TestFault_UpgradeInPlace(t *testing.T) {
	f := fault(t, "18", "roostd and roost-exec are replaced and roostd restarted: version N, N+1, N")
	f.Parallel()
	dir, err := os.MkdirTemp("", "roost-release")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	releases := []release{newRelease(f, dir, "v1.0.0"), newRelease(f, dir, "v1.1.0")}
	// One whose orders are others' is what an old keeper must never meet.
	alien := filepath.Join(dir, "alien")
	if err := os.WriteFile(alien, []byte("#!/bin/false\n"), 0o755); err != nil {
		f.Fatal(err)
	}
	releases[0].install(f, dir)
	h := newHostBy(f, []string{"sh", "-c", `exec "` + dir + `/roostd" "$@"`})
	h.apply(h.spec("web"), h.counter("lines", 1000))
	h.get("web", "/").wants(f, 200)
	h.eventually("both run", func() bool { return len(h.serving()) == 2 })
	before := h.serving()
	l := startLoad(h, "web", 4, 100, true)
	for n, next := range []release{releases[1], releases[0]} {
		half := next
		half.exec = alien
		half.install(f, dir)
		h.nextKeeper(h.killKeeper())
		name := "between" + strconv.Itoa(n)
		h.apply(h.spec(name))
		f.lost("starts", count(h.get(name, "/").status != 200))
		next.install(f, dir)
		h.daemon.end(syscall.SIGKILL)
		h.startDaemon()
		h.eventually("all run", func() bool { return len(h.serving()) == 3+n })
		f.count("restarts", 1)
		want := []string{"v1.1.0", "v1.0.0"}[n]
		info, err := h.system.GetInfo(f.Context(), &roostv1.GetInfoRequest{})
		if err != nil || info.Version != want || info.KeeperVersion != want {
			f.Errorf("%v, %v, want %s for both", info, err, want)
		}
		after := h.serving()
		f.lost("pids", count(after["web"] != before["web"])+count(after["lines"] != before["lines"]))
		h.goOnWriting([]string{"lines"}, 10_000)
	}
	l.tell(f)
	h.stop("lines")
	var n numbered
	for line := range h.lines("lines") {
		n.see(line)
	}
	n.tell(f, "lines")
	if _, out, _ := h.ctl("", "info"); !strings.Contains(out, "v1.0.0, pid "+strconv.Itoa(h.daemon.pid())) {
		f.Errorf("roostctl info does not say which version runs:\n%s", out)
	}
}

// Starts that cannot be are told of precisely, and cost no descriptor.
func TestFault_StartsThatCannotBe(t *testing.T) {
	f := fault(t, "29", "no descriptors, too many processes, no program, interpreter, folder, user; a file that is no program")
	f.Parallel()
	h := newHost(f)
	script := filepath.Join(h.dir, "script")
	if err := os.WriteFile(script, []byte("#!/no/interpreter\n"), 0o755); err != nil {
		f.Fatal(err)
	}
	lasts := h.shell("lasts", "exec sleep 1000")
	if os.Getuid() == 0 {
		lasts.User = "nobody" // the kernel counts a user's other processes
	}
	h.apply(lasts)
	h.eventually("there is a keeper", func() bool { _, ok := h.keeper(); return ok && len(h.serving()) == 1 })
	limit := func(resource int, most uint64) (undo func()) {
		var old unix.Rlimit
		err := unix.Prlimit(h.keeperPID, resource, nil, &old)
		if err == nil {
			err = unix.Prlimit(h.keeperPID, resource, &unix.Rlimit{Cur: most, Max: old.Max}, nil)
		}
		if err != nil {
			f.Fatal(err)
		}
		return func() {
			if err := unix.Prlimit(h.keeperPID, resource, &old, nil); err != nil {
				f.Fatal(err)
			}
		}
	}
	none := func() func() { return func() {} }
	type trouble struct {
		want    string
		change  func(*roostv1.AppSpec)
		prepare func() (undo func())
	}
	troubles := map[string]trouble{
		"noprogram":     {"does not exist", func(s *roostv1.AppSpec) { s.Command = []string{"/no/program"} }, none},
		"notexecutable": {"is not executable", func(s *roostv1.AppSpec) { s.Command = []string{"/etc/passwd"} }, none},
		"nointerpreter": {"names the interpreter /no/interpreter", func(s *roostv1.AppSpec) { s.Command = []string{script} }, none},
		"nouser":        {`"no-such-user" does not exist`, func(s *roostv1.AppSpec) { s.User = "no-such-user" }, none},
		"nofiles": {"too many open files", func(*roostv1.AppSpec) {}, func() func() {
			return limit(unix.RLIMIT_NOFILE, uint64(descriptors(h.keeperPID)+2))
		}},
	}
	if os.Getuid() == 0 { // who else is held to it is the keeper itself
		troubles["noprocesses"] = trouble{"as many processes as it may", func(s *roostv1.AppSpec) { s.User = "nobody" }, func() func() {
			return limit(unix.RLIMIT_NPROC, 0)
		}}
	}
	once := func(name string, tr trouble) {
		undo := tr.prepare()
		defer undo()
		spec := h.shell(name, "exec sleep 1000")
		spec.Start, spec.Restart = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_MANUAL}, &roostv1.Restart{When: roostv1.RestartWhen_RESTART_WHEN_NEVER}
		tr.change(spec)
		h.apply(spec)
		n := h.count(name, "StartFailed")
		if _, err := h.apps.StartApp(f.Context(), &roostv1.StartAppRequest{Name: name}); err != nil {
			f.Fatalf("%s: %v", name, err)
		}
		h.eventually(name+" has failed", func() bool { return h.count(name, "StartFailed") > n })
		f.count("failed starts", 1)
		for _, e := range h.seen(name) {
			if e.Id == "StartFailed" && !strings.Contains(e.Message, tr.want) {
				f.Errorf("%s: %q, want %q", name, e.Message, tr.want)
			}
		}
		h.stop(name)
	}
	for name, tr := range troubles {
		once(name, tr)
	}
	keeper, daemon := descriptors(h.keeperPID), descriptors(h.daemon.pid())
	for range f.size(2, 20) {
		for name, tr := range troubles {
			once(name, tr)
		}
	}
	const slack = 3 // connections and files that come and go
	h.eventually("all descriptors are given back", func() bool {
		return descriptors(h.keeperPID) <= keeper+slack && descriptors(h.daemon.pid()) <= daemon+slack
	})
	f.lost("descriptors", 0)
	f.lost("other apps", count(len(h.inFolder("lasts")) != 1))
}

// descriptors counts what a process has open.
func descriptors(pid int) int {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(list)
}
