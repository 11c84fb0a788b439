package tree

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Limits are the resources that a tree may use; 0 is no limit.
type Limits struct {
	Memory    int64 // bytes
	CPUMillis int64 // thousandths of a core
	Pids      int64
}

// Limiter sets limits by cgroup: in the tree's own v2 cgroup where it has the
// controller, else in a v1 hierarchy beside it.
type Limiter struct {
	stateDir string

	mu      sync.Mutex
	v1      map[string]base  // by controller, made when one is first needed
	lacking map[string]error // why there is no such v1 hierarchy
}

// NewLimiter returns the limiter of the keeper of a state dir.
func NewLimiter(stateDir string) *Limiter {
	return &Limiter{stateDir: stateDir, v1: map[string]base{}, lacking: map[string]error{}}
}

// Ability is how this host keeps one kind of limit.
type Ability struct {
	Limit string // memory, cpu, pids
	How   string // "cgroup v2", "cgroup v1"; "" where it is lacking
	Why   string // it is lacking
}

// Abilities tells how the limits of a lane's trees are kept. It makes nothing.
func (l *Limiter) Abilities(lane Lane) []Ability {
	var list []Ability
	for _, c := range []controller{memoryController, cpuController, pidsController} {
		a := Ability{Limit: c.name, How: "cgroup v2"}
		if !lane.Delegates(c.name) {
			a.How = "cgroup v1"
			if _, err := findBase(c.name, l.stateDir); err != nil {
				a.How, a.Why = "", lackingText(c, err)
			}
		}
		list = append(list, a)
	}
	return list
}

func lackingText(c controller, err error) string {
	return fmt.Sprintf("%s: no v2 controller is delegated and v1: %v", c.name, err)
}

// Limited is what was done to limit one tree.
type Limited struct {
	Procs   []string // cgroup.procs files that its leader must enter, too
	Lacking []string // limits that this host cannot keep, each with the reason
	dirs    []string // v1 cgroups
	memory  string   // the cgroup that counts kills for memory
}

// period is cpu.cfs_period_us and that of cpu.max, in microseconds.
const period = 100_000

// Set limits a tree. A limit that the host has no means for is named in Lacking;
// an error is a means that failed.
func (l *Limiter) Set(id string, t Tree, want Limits) (*Limited, error) {
	done := &Limited{}
	for _, c := range []controller{memoryController, cpuController, pidsController} {
		value := c.value(want)
		if value <= 0 {
			continue
		}
		if err := l.set(done, id, t, c, value); err != nil {
			return done, fmt.Errorf("limits.%s: %w", c.name, err)
		}
	}
	return done, nil
}

func (l *Limiter) set(done *Limited, id string, t Tree, c controller, value int64) error {
	if dir := t.Dir(); dir != "" {
		err := write(dir, c.v2file, c.v2(value))
		if err == nil {
			done.note(c, dir)
			return nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	b, err := l.hierarchy(c.name)
	if err != nil {
		done.Lacking = append(done.Lacking, lackingText(c, err))
		return nil
	}
	dir := filepath.Join(b.dir, id)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if !slices.Contains(done.dirs, dir) { // two controllers can share a hierarchy
		done.dirs = append(done.dirs, dir)
		done.Procs = append(done.Procs, filepath.Join(dir, "cgroup.procs"))
	}
	done.note(c, dir)
	return write(dir, c.v1file, strconv.FormatInt(c.v1(value), 10))
}

func (d *Limited) note(c controller, dir string) {
	if c.name == memoryController.name {
		d.memory = dir
	}
}

func (l *Limiter) hierarchy(controller string) (base, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.v1[controller]; ok {
		return b, nil
	}
	if err, ok := l.lacking[controller]; ok {
		return base{}, err
	}
	b, err := makeBase(controller, l.stateDir)
	if err != nil {
		l.lacking[controller] = err
		return base{}, err
	}
	l.v1[controller] = b
	return b, nil
}

// Find returns what an earlier keeper's limiter did to a tree.
func (l *Limiter) Find(id string, t Tree) *Limited {
	found := &Limited{}
	if dir := t.Dir(); dir != "" && exists(filepath.Join(dir, memoryController.v2file)) {
		found.memory = dir
	}
	for _, c := range []controller{memoryController, cpuController, pidsController} {
		b, err := findBase(c.name, l.stateDir)
		if err != nil {
			continue
		}
		dir := filepath.Join(b.dir, id)
		if !exists(dir) || slices.Contains(found.dirs, dir) {
			continue
		}
		l.mu.Lock()
		l.v1[c.name] = b // for Close to remove
		l.mu.Unlock()
		found.dirs = append(found.dirs, dir)
		if c.name == memoryController.name {
			found.memory = dir
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Sweep removes the cgroups that an earlier keeper's limiter made for a tree.
func (l *Limiter) Sweep(id string) {
	for _, c := range []controller{memoryController, cpuController, pidsController} {
		if b, err := l.hierarchy(c.name); err == nil {
			_ = os.Remove(filepath.Join(b.dir, id))
		}
	}
}

// Close removes what the limiter made, as far as it is empty.
func (l *Limiter) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := range maps.Values(l.v1) {
		_ = os.Remove(b.dir)
	}
}

// OOMKilled tells whether the kernel has killed a process of the tree for its
// memory limit.
func (d *Limited) OOMKilled() bool {
	if d == nil || d.memory == "" {
		return false
	}
	for _, file := range []string{"memory.events", "memory.oom_control"} { // v2, v1 since Linux 4.13
		data, err := os.ReadFile(filepath.Join(d.memory, file))
		if err == nil {
			return oomKills(string(data)) > 0
		}
	}
	return false
}

func oomKills(events string) int {
	for line := range strings.Lines(events) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(v))
			return n
		}
	}
	return 0
}

// Remove removes the tree's v1 cgroups, which must be empty.
func (d *Limited) Remove() error {
	if d == nil {
		return nil
	}
	var errs []error
	for _, dir := range d.dirs {
		errs = append(errs, ignoreGone(os.Remove(dir)))
	}
	return errors.Join(errs...)
}

// controller is one kind of limit.
type controller struct {
	name           string // as in the manifest, which is the controller's too
	value          func(Limits) int64
	v2file, v1file string
	v2             func(int64) string
	v1             func(int64) int64
}

var (
	memoryController = controller{
		name: "memory", value: func(l Limits) int64 { return l.Memory },
		v2file: "memory.max", v2: func(n int64) string { return strconv.FormatInt(n, 10) },
		v1file: "memory.limit_in_bytes", v1: func(n int64) int64 { return n },
	}
	cpuController = controller{
		name: "cpu", value: func(l Limits) int64 { return l.CPUMillis },
		v2file: "cpu.max", v2: func(n int64) string { return fmt.Sprintf("%d %d", quota(n), period) },
		v1file: "cpu.cfs_quota_us", v1: quota,
	}
	pidsController = controller{
		name: "pids", value: func(l Limits) int64 { return l.Pids },
		v2file: "pids.max", v2: func(n int64) string { return strconv.FormatInt(n, 10) },
		v1file: "pids.max", v1: func(n int64) int64 { return n },
	}
)

// quota is how many microseconds a period so many thousandths of a core are. The
// kernel takes none below a millisecond.
func quota(millis int64) int64 { return max(millis*period/1000, 1000) }
