package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// A daemon that is killed at a step of what it was asked for leaves what was before
// or what was asked for, and nothing between: no app is lost or there twice, no
// process is left over or runs twice, and asking again does the rest.
func TestFault_KilledAtEveryStep(t *testing.T) {
	f := fault(t, "16", "the daemon dies by SIGKILL at each step of each order")
	f.Parallel()
	roostd := failpoints(t)
	var cuts []cut
	for _, o := range orders {
		for _, at := range o.cuts {
			cuts = append(cuts, cut{o, at})
		}
	}
	seed := rand.Uint64()
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
	cuts = cuts[:min(f.size(8, len(cuts)), len(cuts))]
	t.Logf("seed %d", seed)
	const hosts = 4
	for n := range hosts {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			s := newSteps(t, roostd)
			for i := n; i < len(cuts); i += hosts {
				t.Logf("app a%d: %s, killed at %q", i, cuts[i].order.name, cuts[i].at)
				s.cut(fmt.Sprint("a", i), cuts[i])
				f.count("kills", 1)
			}
			s.stayed(t)
		})
	}
	f.lost("apps", 0)
	f.lost("processes", 0)
}

// Each step is cut somewhere.
func TestSteps_AreAllCut(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, o := range orders {
		for _, at := range o.cuts {
			var point string
			var before int
			if _, err := fmt.Sscan(at, &point, &before); err != nil {
				t.Errorf("%s: %q: %v", o.name, at, err)
			}
			used[point] = true
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../../daemon/internal/failpoint/failpoint.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	points := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, _ := strconv.Unquote(lit.Value)
			points[name] = true
		}
		return true
	})
	for name := range points {
		if !used[name] {
			t.Errorf("no daemon is killed at %q", name)
		}
	}
	for name := range used {
		if !points[name] {
			t.Errorf("there is no step %q", name)
		}
	}
}

// failpoints builds a daemon that can be made to die, and returns its name in bin.
func failpoints(t *testing.T) string {
	t.Helper()
	const name = "roostd-failpoints"
	if err := buildFailpoints(name); err != nil {
		t.Fatal(err)
	}
	return name
}

var buildFailpoints = func() func(name string) error {
	var once sync.Once
	var err error
	return func(name string) error {
		once.Do(func() {
			cmd := exec.Command("go", "build", "-tags", "failpoints", "-o", filepath.Join(bin, name), "github.com/roostd/roost/daemon")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, e := cmd.CombinedOutput(); e != nil {
				err = fmt.Errorf("building %s: %w\n%s", name, e, out)
			}
		})
		return err
	}
}()

// result is what has become of an app.
type result struct {
	state   roostv1.AppState // 0: there is none
	version string           // that serves
	ready   int32
	failed  bool // its last rollout
}

var (
	absent    = result{}
	isStopped = result{state: roostv1.AppState_APP_STATE_STOPPED}
	isOffline = result{state: roostv1.AppState_APP_STATE_OFFLINE}
)

func runs(version string, ready int32) result {
	return result{state: roostv1.AppState_APP_STATE_RUNNING, version: version, ready: ready}
}

// order is something that a daemon is asked for, and where it dies over it: the
// step, and how often it is passed before.
type order struct {
	name          string
	before, after result
	prepare       func(s *steps, app string)
	do            func(s *steps, app string) error
	cuts          []string
	// either is for a step that the order and its preparation pass at times of their own.
	either bool
}

type cut struct {
	order order
	at    string
}

var (
	starting = []string{"launch 0", "launched 0", "ready 0", "published 0", "noted 0"}
	stopping = []string{"stopping 0", "drain 0", "signal 0", "bury 0", "gone 0", "account 0"}
	writing  = []string{"save 0", "commit 0", "saved 0", "told 0"}
	// settling is how a rollout's end is written down, after the order.
	settling = []string{"save 1", "commit 1", "saved 1"}
)

var orders = []order{
	{
		name: "apply a new app", before: absent, after: runs("1", 1),
		prepare: func(*steps, string) {},
		do:      func(s *steps, app string) error { return s.put(s.boots(app, "1")) },
		cuts:    slices.Concat(writing, starting),
	}, {
		name: "apply a new version", before: runs("1", 1), after: runs("2", 1),
		prepare: running,
		do:      func(s *steps, app string) error { return s.put(s.boots(app, "2")) },
		cuts:    slices.Concat(writing, starting, settling, stopping),
	}, {
		name: "apply a version that fails", before: runs("1", 1), after: result{roostv1.AppState_APP_STATE_RUNNING, "1", 1, true},
		prepare: running,
		do:      func(s *steps, app string) error { return s.put(s.boots(app, "2", "-exit", "3")) },
		cuts:    slices.Concat(settling, []string{"launched 0", "gone 0", "account 0"}),
	}, {
		name: "roll back", before: runs("2", 1), after: runs("1", 1),
		prepare: func(s *steps, app string) {
			running(s, app)
			s.must(s.put(s.boots(app, "2")))
			s.becomes(app, runs("2", 1))
		},
		do: func(s *steps, app string) error {
			_, err := s.apps.RollbackApp(s.ctx(), &roostv1.RollbackAppRequest{Name: app, Generation: s.first(app)})
			return err
		},
		cuts: slices.Concat(writing, starting, settling, stopping),
	}, {
		name: "recycle", before: runs("1", 1), after: runs("1", 1),
		prepare: running,
		do: func(s *steps, app string) error {
			_, err := s.apps.RecycleApp(s.ctx(), &roostv1.RecycleAppRequest{Name: app})
			return err
		},
		cuts: slices.Concat(writing, starting, settling, stopping),
	}, {
		name: "scale", before: runs("1", 1), after: runs("1", 2),
		prepare: running,
		do: func(s *steps, app string) error {
			_, err := s.apps.ScaleApp(s.ctx(), &roostv1.ScaleAppRequest{Name: app, Instances: 2})
			return err
		},
		cuts: slices.Concat(writing, starting),
	}, {
		name: "stop", before: runs("1", 1), after: isStopped,
		prepare: running, do: stopApp,
		cuts: slices.Concat(writing, stopping),
	}, {
		name: "start", before: isStopped, after: runs("1", 1),
		prepare: func(s *steps, app string) {
			running(s, app)
			s.must(stopApp(s, app))
			s.becomes(app, isStopped)
		},
		do: func(s *steps, app string) error {
			_, err := s.apps.StartApp(s.ctx(), &roostv1.StartAppRequest{Name: app})
			return err
		},
		cuts: slices.Concat(writing, starting),
	}, {
		name: "offline", before: runs("1", 1), after: isOffline,
		prepare: running, do: offline(true),
		cuts: slices.Concat(writing, stopping),
	}, {
		name: "online", before: isOffline, after: runs("1", 1),
		prepare: func(s *steps, app string) {
			running(s, app)
			s.must(offline(true)(s, app))
			s.becomes(app, isOffline)
		},
		do:   offline(false),
		cuts: slices.Concat(writing, starting),
	}, {
		name: "rm", before: runs("1", 1), after: absent,
		prepare: running, do: removeApp,
		cuts: slices.Concat(writing, stopping, []string{"forget 0", "finish 0"}),
	}, {
		name: "start roostd", before: runs("1", 1), after: runs("1", 1),
		prepare: running,
		do: func(s *steps, _ string) error {
			s.daemon.end(syscall.SIGKILL)
			s.launchDaemon()
			return nil
		},
		cuts: []string{"recovered 0", "reconciled 0"},
	}, {
		name: "copy the state", before: runs("1", 1), after: runs("2", 1), either: true,
		prepare: running,
		do:      func(s *steps, app string) error { return s.put(s.boots(app, "2")) },
		cuts:    []string{"copied 0"},
	}, {
		name: "restore the state", before: runs("1", 1), after: runs("1", 1),
		prepare: func(s *steps, app string) {
			running(s, app)
			s.awaitCopy()
		},
		do: func(s *steps, _ string) error {
			s.daemon.end(syscall.SIGKILL)
			if err := os.Truncate(s.state("roost.db"), 9000); err != nil {
				return err
			}
			s.launchDaemon()
			return nil
		},
		cuts: []string{"restore 0"},
	},
}

func running(s *steps, app string) {
	s.must(s.put(s.boots(app, "1")))
	s.becomes(app, runs("1", 1))
}

func stopApp(s *steps, app string) error {
	_, err := s.apps.StopApp(s.ctx(), &roostv1.StopAppRequest{Name: app})
	return err
}

func removeApp(s *steps, app string) error {
	_, err := s.apps.DeleteApp(s.ctx(), &roostv1.DeleteAppRequest{Name: app})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

func offline(yes bool) func(s *steps, app string) error {
	return func(s *steps, app string) error {
		_, err := s.apps.SetAppOffline(s.ctx(), &roostv1.SetAppOfflineRequest{Name: app, Offline: yes})
		return err
	}
}

// steps is a host whose daemon dies where a file says so.
type steps struct {
	*host
	file  string
	stays int32 // the pid of an app that nobody touches
	known map[string]bool
}

func newSteps(t *testing.T, roostd string) *steps {
	t.Helper()
	dir := t.TempDir()
	s := &steps{file: filepath.Join(dir, "failpoint"), known: map[string]bool{"stays": true}}
	s.host = newHostBy(t, []string{"sh", "-c", "shift; ROOSTD_FAILPOINT=" + s.file + ` exec "$0" "$@"`, filepath.Join(bin, roostd)})
	s.must(s.put(s.boots("stays", "1")))
	s.becomes("stays", runs("1", 1))
	s.stays = s.pids("stays")[0]
	return s
}

func (s *steps) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// ctx bounds a call that a daemon dies over.
func (s *steps) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

func (s *steps) boots(app, version string, args ...string) *roostv1.AppSpec {
	spec := s.versioned(app, version, args...)
	spec.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}
	spec.Recycle.MinReady = durationpb.New(50 * time.Millisecond)
	return spec
}

// put applies a spec, and waits for nothing.
func (s *steps) put(spec *roostv1.AppSpec) error {
	_, err := s.apps.ApplyApps(s.ctx(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}})
	return err
}

// first is the oldest generation of an app.
func (s *steps) first(app string) int64 {
	s.Helper()
	return slices.Min(s.numbers(app))
}

func (s *steps) state(name string) string { return filepath.Join(s.dir, "state", name) }

// cut has the daemon die, and holds what the next one makes of it to what may be.
func (s *steps) cut(app string, c cut) {
	s.Helper()
	o := c.order
	o.prepare(s, app)
	s.arm(c.at)
	err := o.do(s, app)
	select {
	case <-s.daemon.exited:
	case <-time.After(patience):
		s.Fatalf("%s does not pass %q", o.name, c.at)
	}
	if e, ok := s.daemon.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || e.Signal() != syscall.SIGKILL {
		s.Fatalf("%s at %q: the daemon ended by itself: %v", o.name, c.at, s.daemon.err)
	}
	s.must(os.Remove(s.file))
	s.startDaemon()
	wanted := []result{o.after}
	switch {
	case o.either:
		wanted = append(wanted, o.before)
	case slices.Contains(writing[:2], c.at):
		wanted = []result{o.before}
		if err == nil {
			s.Fatalf("%s at %q: the caller was told that it is done", o.name, c.at)
		}
	}
	s.becomes(app, wanted...)
	s.undisturbed(app)
	s.must(o.do(s, app)) // again, whole
	if s.daemon.cmd.ProcessState == nil {
		s.daemon.address("unix")
	}
	s.becomes(app, o.after)
	s.must(removeApp(s, app))
	s.becomes(app, absent)
}

// arm has the daemon die at a step.
func (s *steps) arm(at string) {
	s.Helper()
	s.must(os.WriteFile(s.file+".new", []byte(at), 0o600))
	s.must(os.Rename(s.file+".new", s.file))
}

// becomes waits until an app is one of these, and at rest.
func (s *steps) becomes(app string, wanted ...result) {
	s.Helper()
	var why string
	for deadline := time.Now().Add(2 * patience); ; {
		for _, w := range wanted {
			if why = s.differs(app, w); why == "" {
				return
			}
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s does not become %v: %s", app, wanted, why)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// differs says in what an app is not as wanted; "": in nothing.
func (s *steps) differs(app string, w result) string {
	resp, err := s.apps.GetApp(s.ctx(), &roostv1.GetAppRequest{Name: app})
	if status.Code(err) == codes.NotFound && w == absent {
		return s.remains(app)
	}
	if err != nil {
		return err.Error()
	}
	a := resp.App
	failed := slices.ContainsFunc(a.Conditions, func(c *roostv1.Condition) bool { return c.Type == "RolloutFailed" })
	switch {
	case a.State != w.state || a.Ready != w.ready || failed != w.failed:
		return fmt.Sprint("it is ", a)
	case a.Rollout != nil && a.Rollout.Phase < roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE:
		return fmt.Sprint("a rollout goes on: ", a.Rollout)
	case (a.ServingGeneration != a.DesiredGeneration) != w.failed:
		return fmt.Sprintf("generation %d serves, %d is desired", a.ServingGeneration, a.DesiredGeneration)
	}
	live, there := s.pids(app), s.inFolder(app)
	if len(live) != int(w.ready) || len(there) != int(w.ready) {
		return fmt.Sprintf("instances %v, processes %v", live, there)
	}
	for _, pid := range there {
		if !slices.Contains(live, int32(pid)) {
			return fmt.Sprintf("process %d is of none of the instances %v", pid, live)
		}
	}
	if w.ready == 0 {
		return ""
	}
	r := s.get(app, "/")
	if r.err != nil || r.status != http.StatusOK {
		return r.String()
	}
	if got := r.json(s)["version"]; got != w.version {
		return fmt.Sprintf("version %v serves", got)
	}
	return ""
}

// remains says what is left of an app that is gone.
func (s *steps) remains(app string) string {
	if left := s.inFolder(app); len(left) > 0 {
		return fmt.Sprintf("processes %v", left)
	}
	records, err := filepath.Glob(s.state("instances/*/record.json"))
	if err != nil {
		return err.Error()
	}
	for _, path := range records {
		var record struct{ App string }
		if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &record) == nil && record.App == app {
			return "record " + path
		}
	}
	return ""
}

// undisturbed checks that there is no app beside this one and the one that nobody
// touches, and that that one is as it was.
func (s *steps) undisturbed(app string) {
	s.Helper()
	list, err := s.apps.ListApps(s.ctx(), &roostv1.ListAppsRequest{})
	s.must(err)
	for _, a := range list.Apps {
		if a.Name != app && a.Name != "stays" {
			s.Fatalf("app %s is there", a.Name)
		}
	}
	if pids := s.pids("stays"); !slices.Equal(pids, []int32{s.stays}) {
		s.Fatalf("the app that nobody touched has pids %v, it had %d", pids, s.stays)
	}
}

func (s *steps) stayed(t *testing.T) {
	t.Helper()
	s.get("stays", "/").wants(t, http.StatusOK)
	if n := s.count("stays", "InstanceStarting"); n != 1 {
		t.Errorf("the app that nobody touched was started %d times", n)
	}
}

// awaitCopy waits until the state's copy is as new as the state.
func (s *steps) awaitCopy() {
	s.Helper()
	s.eventually("the copy is new", func() bool {
		state, err := os.Stat(s.state("roost.db"))
		s.must(err)
		good, err := os.Stat(s.state("roost.db.good"))
		return err == nil && good.ModTime().After(state.ModTime())
	})
}
