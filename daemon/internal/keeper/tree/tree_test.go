package tree

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// p is a process of keeper 10's world.
func p(pid, ppid, pgid, sid int) proc.Stat {
	return proc.Stat{PID: pid, State: 'S', PPID: ppid, PGID: pgid, SID: sid, StartTicks: uint64(pid)}
}

func TestClassifier_Rule(t *testing.T) {
	trees := map[string]*scanTree{
		"a": {id: "a", leader: Leader{PID: 20, Ticks: 20, UID: 5}, known: map[int]uint64{20: 20, 31: 31, 40: 4}},
		"b": {id: "b", leader: Leader{PID: 50, Ticks: 50, UID: 5}, known: map[int]uint64{50: 50}},
	}
	environ := map[int]string{33: "a", 34: "elsewhere", 38: "b", 36: "a"}
	all := []proc.Stat{
		p(1, 0, 1, 1), p(2, 1, 2, 2), p(10, 1, 10, 10),
		p(20, 10, 20, 20),                                       // a's leader
		p(21, 20, 20, 20), p(22, 21, 22, 22), p(23, 22, 23, 23), // its descendants, in sessions of their own
		p(30, 10, 20, 77), // an orphan in its process group
		p(31, 10, 31, 31), // an orphan that was seen before
		p(32, 31, 32, 32), // and its child
		p(33, 10, 33, 33), // an orphan that says so
		p(34, 10, 34, 34), // one of an instance that is not here
		p(35, 34, 35, 35), // and its child
		p(36, 2, 36, 36),  // a stranger that says so, not below the keeper
		p(38, 10, 20, 20), // a's session counts more than what it says
		p(40, 2, 40, 40),  // a stranger with a number that was a's
		p(50, 10, 50, 50), // b's leader
		p(51, 50, 20, 20), // b's child that joined a's session: the session counts
	}
	c := newClassifier(all, 10, trees)
	c.environ = environs(environ)
	c.uid = func(pid int) (int, error) { return 5, nil }
	want := map[int]string{20: "a", 21: "a", 22: "a", 23: "a", 30: "a", 31: "a", 32: "a", 33: "a", 38: "a", 50: "b", 51: "a"}
	var orphans []int
	for _, s := range all {
		if got := c.classify(s.PID); got != want[s.PID] {
			t.Errorf("pid %d is of %q, want %q", s.PID, got, want[s.PID])
		}
	}
	for _, s := range all {
		if c.orphans[s.PID] {
			orphans = append(orphans, s.PID)
		}
	}
	if !slices.Equal(orphans, []int{34, 35}) {
		t.Errorf("orphans %v, want 34 and 35", orphans)
	}
}

// An orphan that says nothing is of the only tree that can have left it.
func TestClassifier_UnnamedOrphanIsOfTheOnlyTreeOfItsUser(t *testing.T) {
	a := &scanTree{id: "a", leader: Leader{PID: 20, Ticks: 20, UID: 5}}
	probe := &scanTree{id: "a/probe", leader: Leader{PID: 21, Ticks: 21, UID: 5}}
	other := &scanTree{id: "b", leader: Leader{PID: 50, Ticks: 50, UID: 6}}
	same := &scanTree{id: "b", leader: Leader{PID: 50, Ticks: 50, UID: 5}}
	root := &scanTree{id: "b", leader: Leader{PID: 50, Ticks: 50}}
	born := &scanTree{id: "b"}
	for name, tt := range map[string]struct {
		trees []*scanTree
		want  string
	}{
		"one":                    {[]*scanTree{a}, "a"},
		"and a probe beside it":  {[]*scanTree{a, probe}, "a"},
		"and another user's":     {[]*scanTree{a, other}, "a"},
		"two of its user":        {[]*scanTree{a, same}, ""},
		"and root's":             {[]*scanTree{a, root}, ""},
		"root's only":            {[]*scanTree{root}, "b"},
		"another user's only":    {[]*scanTree{other}, ""},
		"and one that is forked": {[]*scanTree{a, born}, ""},
	} {
		trees := map[string]*scanTree{}
		for _, tr := range tt.trees {
			trees[tr.id] = tr
		}
		c := newClassifier([]proc.Stat{p(10, 1, 10, 10), p(30, 10, 30, 30), p(31, 30, 31, 31)}, 10, trees)
		c.environ = environs(nil)
		c.uid = func(int) (int, error) { return 5, nil }
		if got, child := c.classify(30), c.classify(31); got != tt.want || child != tt.want {
			t.Errorf("%s: it is of %q, its child of %q, want %q", name, got, child, tt.want)
		}
		if c.orphans[30] != (tt.want == "") {
			t.Errorf("%s: an orphan is %v", name, c.orphans[30])
		}
	}
}

// A user's process is of no other user's tree, whatever its environment says.
func TestClassifier_AnotherUsersClaimCountsForNothing(t *testing.T) {
	trees := map[string]*scanTree{
		"mine": {id: "mine", leader: Leader{PID: 20, Ticks: 20, UID: 5}, found: true},
		"root": {id: "root", leader: Leader{PID: 50, Ticks: 50}, found: true},
	}
	c := newClassifier([]proc.Stat{p(1, 0, 1, 1), p(10, 1, 10, 10), p(30, 10, 30, 30), p(31, 1, 31, 31), p(32, 1, 32, 32), p(33, 1, 33, 33)}, 10, trees)
	c.environ = environs(map[int]string{30: "mine", 31: "mine", 32: "root", 33: "mine"})
	c.uid = func(pid int) (int, error) { return map[int]int{30: 6, 31: 6, 32: 6, 33: 5}[pid], nil }
	for pid, want := range map[int]string{30: "", 31: "", 32: "root", 33: "mine"} {
		if got := c.classify(pid); got != want {
			t.Errorf("%d is of %q, want %q", pid, got, want)
		}
	}
	if !c.orphans[30] || c.orphans[31] {
		t.Errorf("orphans %v, want the one below the keeper", c.orphans)
	}
}

// environs are the instances that processes say they are of.
func environs(of map[int]string) func(int, string) (string, error) {
	return func(pid int, _ string) (string, error) {
		if id, ok := of[pid]; ok {
			return id, nil
		}
		return "", os.ErrNotExist
	}
}

// What a tree of an earlier keeper leaves behind came down to others; of a tree of
// this one's own nothing did, whatever a stranger's environment says.
func TestClassifier_StrangersAreAskedForTreesOfEarlierKeepers(t *testing.T) {
	all := []proc.Stat{p(1, 0, 1, 1), p(10, 1, 10, 10), p(36, 1, 36, 36), p(37, 36, 37, 37), p(38, 1, 38, 38)}
	c := newClassifier(all, 10, map[string]*scanTree{"a": {id: "a", found: true}, "b": {id: "b"}})
	c.environ = environs(map[int]string{36: "a", 38: "b"})
	for pid, want := range map[int]string{36: "a", 37: "a", 1: "", 38: ""} {
		if got := c.classify(pid); got != want {
			t.Errorf("%d is of %q, want %q", pid, got, want)
		}
	}
}

// The number of a leader that is long dead may be a stranger's session by now.
func TestClassifier_ARecycledLeaderProvesNothing(t *testing.T) {
	stranger := p(20, 1, 20, 20)
	stranger.StartTicks = 99
	child := p(21, 20, 20, 20)
	for name, c := range map[string]struct {
		all   []proc.Stat
		found bool
		want  string
	}{
		"alive":                        {[]proc.Stat{p(20, 10, 20, 20), child}, false, "a"},
		"recycled":                     {[]proc.Stat{stranger, child}, false, ""},
		"just reaped by this keeper":   {[]proc.Stat{child}, false, "a"},
		"alive, of another keeper":     {[]proc.Stat{p(20, 1, 20, 20), child}, true, "a"},
		"recycled, of another keeper":  {[]proc.Stat{stranger, child}, true, ""},
		"long dead, of another keeper": {[]proc.Stat{child}, true, ""},
	} {
		trees := map[string]*scanTree{"a": {id: "a", leader: Leader{PID: 20, Ticks: 20, UID: 5}, found: c.found}}
		k := newClassifier(c.all, 10, trees)
		k.environ = environs(nil)
		if got := k.classify(21); got != c.want {
			t.Errorf("%s: of %q, want %q", name, got, c.want)
		}
	}
}

func TestDetect_FallsBackAndSaysWhy(t *testing.T) {
	lane, err := Detect(t.TempDir(), LaneScan)
	if err != nil || lane.Name() != LaneScan || lane.Condition() == "" {
		t.Errorf("lane %v, %v, want scan with its condition", lane, err)
	}
	if lane, err := Detect(t.TempDir(), "nonsense"); err == nil {
		t.Errorf("an unknown lane: %v", lane)
	}
}

func TestCgroupLane_MakesAndRemoves(t *testing.T) {
	for _, name := range []string{LaneV2, LaneFreezer, LanePids} {
		lane, err := Detect(t.TempDir(), name)
		if err != nil {
			t.Logf("this host has no lane %s: %v", name, err)
			continue
		}
		tr, err := lane.New("one")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Sub("probe"); err != nil {
			t.Fatal(err)
		}
		if left := lane.Left(); !slices.Equal(left, []string{"one"}) {
			t.Errorf("%s: left %v, want one", name, left)
		}
		if pids, err := tr.Pids(); err != nil || len(pids) != 0 {
			t.Errorf("%s: processes %v, %v, want none", name, pids, err)
		}
		if err := tr.Kill(t.Context()); err != nil {
			t.Errorf("%s: killing an empty one: %v", name, err)
		}
		if err := tr.Remove(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := tr.Kill(t.Context()); err != nil {
			t.Errorf("%s: killing one that is gone: %v", name, err)
		}
		lane.Close()
		if _, err := os.Stat(lane.(*cgroupLane).base.dir); !os.IsNotExist(err) {
			t.Errorf("%s: its folder is left, %v", name, err)
		}
	}
}

// A keeper that dies while it kills a probe leaves it frozen.
func TestCgroupLane_KillsWhatWasLeftFrozen(t *testing.T) {
	lane, err := Detect(t.TempDir(), LaneFreezer)
	if err != nil {
		t.Skipf("this host has no freezer: %v", err)
	}
	defer lane.Close()
	tr, err := lane.New("one")
	if err != nil {
		t.Fatal(err)
	}
	probe, err := tr.Sub("probe")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := errors.Join(
		write(probe.Dir(), "cgroup.procs", strconv.Itoa(cmd.Process.Pid)), write(probe.Dir(), "freezer.state", "FROZEN"),
	); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := tr.Kill(ctx); err != nil {
		_ = write(probe.Dir(), "freezer.state", "THAWED")
		t.Errorf("kill: %v", err)
	}
	<-ended
	if err := tr.Remove(); err != nil {
		t.Error(err)
	}
}

func TestLimiter_NamesWhatTheHostLacks(t *testing.T) {
	lane, err := Detect(t.TempDir(), LaneScan)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := lane.New("one")
	if err != nil {
		t.Fatal(err)
	}
	l := NewLimiter(t.TempDir())
	defer l.Close()
	for _, c := range []string{"memory", "pids"} {
		l.lacking[c] = errNoHierarchy
	}
	done, err := l.Set("one", tr, Limits{Memory: 1 << 20, Pids: 5})
	if err != nil || len(done.Lacking) != 2 || !strings.HasPrefix(done.Lacking[0], "memory: ") {
		t.Errorf("lacking %q, %v, want memory and pids", done.Lacking, err)
	}
	for _, a := range NewLimiter(t.TempDir()).Abilities(lane) {
		if (a.How == "") != (a.Why != "") || a.How == "cgroup v2" {
			t.Errorf("ability %+v in a lane without cgroups", a)
		}
	}
	if done.OOMKilled() {
		t.Error("an unlimited tree was killed for memory")
	}
}

func TestOOMKills(t *testing.T) {
	for text, want := range map[string]int{
		"low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\noom_group_kill 0\n": 2,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 1\n":               1,
		"oom_kill_disable 0\nunder_oom 0\n":                           0,
	} {
		if got := oomKills(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestQuota(t *testing.T) {
	for millis, want := range map[int64]int64{1000: 100_000, 250: 25_000, 1: 1000, 2500: 250_000} {
		if got := quota(millis); got != want {
			t.Errorf("%d thousandths of a core: %d µs, want %d", millis, got, want)
		}
	}
}
