package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

func TestStop_CrashedLeaderTakesItsTreeAlong(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web", "-tree", "2")
	spec.Restart = &roostv1.Restart{When: roostv1.RestartWhen_RESTART_WHEN_NEVER}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	if err := syscall.Kill(int(h.pids("web")[0]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.eventually("the tree is gone", func() bool { return len(h.inFolder("web")) == 0 })
}

// inFolder lists the processes that run in an app's folder.
func (h *host) inFolder(name string) []int {
	var pids []int
	for _, pid := range h.processes() {
		if cwd, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd"); cwd == filepath.Join(h.dir, "apps", name) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func kill(t testing.TB, pid int32) {
	t.Helper()
	if pid <= 0 { // a signal to 0 is one to the tests themselves
		t.Fatalf("pid %d is no process", pid)
	}
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
