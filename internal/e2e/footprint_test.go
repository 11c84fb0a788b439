package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// footprint is what the programs of a host, and what they keep, take up: numbers by
// what they count.
type footprint map[string]int

// footprint counts what must not grow with the restarts of apps.
func (h *host) footprint() footprint {
	h.Helper()
	h.keeper()
	p := footprint{}
	for name, pid := range map[string]int{"roostd": h.daemon.pid(), "keeper": h.keeperPID, "proxy": h.proxy.pid()} {
		fds, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
		if err != nil {
			h.Fatal(err)
		}
		p[name+" descriptors"] = len(fds)
		p[name+" MiB"] = int(usageOf(h, pid).rss >> 20)
	}
	p["state folder files"] = files(h, filepath.Join(h.dir, "state"))
	p["socket folder files"] = files(h, filepath.Dir(h.socket))
	p["cgroups"] = len(h.cgroups())
	return p
}

// files counts what lies in a folder and those in it.
func files(t testing.TB, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error {
		if os.IsNotExist(err) { // it is looked at while it changes
			return nil
		}
		n++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// cgroups lists what the host's keeper has made in all hierarchies for instances.
func (h *host) cgroups() []string {
	base := fmt.Sprintf("roost-%x", sha256.Sum256([]byte(filepath.Join(h.dir, "state"))))[:len("roost-")+8]
	var list []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(filepath.Base(filepath.Dir(path)), base) {
			list = append(list, path)
		}
		return nil // others' come and go
	})
	return list
}

// over says what of p is larger than in before by more than the slack for it.
func (p footprint) over(before footprint, slack func(what string) int) []string {
	var list []string
	for _, what := range slices.Sorted(maps.Keys(p)) {
		if p[what] > before[what]+slack(what) {
			list = append(list, fmt.Sprintf("%s: %d, before %d", what, p[what], before[what]))
		}
	}
	return list
}

// goroutines ends roostd, keeper and proxy in the way that has Go's runtime say what
// each of its goroutines does, starts them again, and returns how many there were.
func (h *host) goroutines() footprint {
	h.Helper()
	h.keeper()
	keeper := h.keeperPID
	h.daemon.end(syscall.SIGABRT)
	h.proxy.end(syscall.SIGABRT)
	log := filepath.Join(h.dir, "state", "keeper.log")
	before, err := os.ReadFile(log)
	if err != nil {
		h.Fatal(err)
	}
	if err := syscall.Kill(keeper, syscall.SIGABRT); err != nil {
		h.Fatal(err)
	}
	h.eventually("the keeper has ended", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(keeper) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	after, err := os.ReadFile(log)
	if err != nil {
		h.Fatal(err)
	}
	p := footprint{}
	for name, trace := range map[string]string{
		"roostd": h.daemon.output(), "proxy": h.proxy.output(), "keeper": string(after[len(before):]),
	} {
		all := goroutines(trace)
		p[name+" goroutines"] = all.sum()
		h.Logf("%s: goroutines by where they began: %v", name, all)
	}
	h.startDaemon()
	h.startProxy("127.0.0.1:0")
	h.awaitProxy()
	return p
}

// goroutines counts those that a trace has, by the outermost function of ours in each.
func goroutines(trace string) (all tally) {
	for _, one := range strings.Split("\n"+trace, "\ngoroutine ")[1:] {
		one, _, _ = strings.Cut(one, "\n\n")
		where := "others"
		for line := range strings.Lines(one) {
			if rest, ok := strings.CutPrefix(line, "github.com/roostd/roost/"); ok {
				where = strings.TrimSpace(rest[:strings.LastIndexByte(rest, '(')])
			}
		}
		all.add(where, 1)
	}
	return all
}
