package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/watch"
)

// deed is one thing done to a supervisor by chance.
type deed struct {
	verb string
	name string
	n    int
	rest time.Duration
}

var deeds = rapid.Custom(func(t *rapid.T) deed {
	return deed{
		verb: rapid.SampledFrom([]string{
			"apply", "apply", "apply", "verify", "activate", "activate", "activate", "crash", "crash", "sicken",
			"stop", "start", "recycle", "unasked", "unasked", "scale", "rollback", "delete", "behave", "behave", "busy", "reboot", "full disk",
			"offline", "online", "page", "no page", "touch", "quiet",
		}).Draw(t, "verb"),
		name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"),
		n:    rapid.IntRange(0, 1<<18).Draw(t, "n"),
		rest: rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 20 * time.Second, 70 * time.Second}).Draw(t, "rest"),
	}
})

// TestSupervisor_KeepsItsInvariantsWhateverHappens does random things to two apps
// and checks after each what must always hold, and in the end that everything
// comes to rest where it should.
func TestSupervisor_KeepsItsInvariantsWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(deeds, 1, 30).Draw(rt, "script")
		var faults []string
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t)
			for _, d := range script {
				m.do(d)
				m.check(fmt.Sprintf("after %+v", d))
				m.pass(d.rest)
				m.check(fmt.Sprintf("%v after %+v", d.rest, d))
			}
			m.settle()
			faults = m.faults
		})
		if len(faults) > 0 {
			rt.Fatalf("%s", strings.Join(faults, "\n"))
		}
	})
}

// machine is a rig and what is known about it.
type machine struct {
	*rig
	faults  []string
	watcher *watch.Watcher[app.InstanceID, app.Instance]
	phases  map[app.InstanceID]app.Phase
	changed map[app.InstanceID]time.Time // when that was seen
	waiting sync.WaitGroup
	behave  map[string]script // by release
}

func newMachine(t *testing.T) *machine {
	m := &machine{
		rig:    &rig{t: t, host: newHost(), proxies: newProxies(), folders: newFolders(), recorder: &fakeRecorder{}, disk: newStore()},
		phases: map[app.InstanceID]app.Phase{}, changed: map[app.InstanceID]time.Time{}, behave: map[string]script{},
	}
	m.host.behaveBy(func(l app.Launch) script {
		if s, ok := m.behave[l.Spec.Release]; ok {
			return s
		}
		return script{boot: 500 * time.Millisecond}
	})
	m.boot()
	m.watcher, _ = m.Instances().Watch()
	return m
}

func (m *machine) fault(format string, args ...any) {
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// allowed notes an error that is none of those a caller may get.
func (m *machine) allowed(d deed, err error, kinds ...app.Kind) {
	if err != nil && !slices.Contains(kinds, app.KindOf(err)) {
		m.fault("%+v: %v", d, err)
	}
}

var behaviours = []script{
	{boot: 500 * time.Millisecond},
	{boot: 500 * time.Millisecond, stop: 5 * time.Second, linger: time.Second},
	{boot: -1, exitAfter: 100 * time.Millisecond, code: 1},
	{boot: -1, stop: -1},
	{boot: 100 * time.Millisecond, exitAfter: time.Second, code: 2},
	{boot: 100 * time.Millisecond, exitAfter: 30 * time.Second},
	{refuse: &app.StartError{Step: "command", Message: "no such program"}},
	{boot: 100 * time.Millisecond, unfit: &app.StartError{Step: stepPort, Message: "a stranger has it"}},
}

func (d deed) spec() app.Spec {
	bits := d.n
	pick := func(n int) int {
		p := bits % n
		bits /= n
		return p
	}
	s := spec(d.name, version(number(int64(pick(3)))), instances(1+pick(3)))
	s.Start.Timeout = new(5 * time.Second)
	s.Stop.Drain, s.Stop.Timeout = new(3*time.Second), new(2*time.Second)
	s.Restart.RapidFailsPerMinute = new(2 + pick(4))
	s.Recycle.Overlap = new(pick(3) > 0)
	s.Start.When = []app.StartWhen{app.StartOnRequest, app.StartOnRequest, app.StartOnBoot, app.StartManual}[pick(4)]
	s.Restart.When = []app.RestartWhen{app.RestartAlways, app.RestartAlways, app.RestartOnFailure, app.RestartOnRequest, app.RestartNever}[pick(5)]
	if pick(4) == 1 {
		s.Restart.OnRapidFail = app.RapidFailStop
	}
	if pick(4) == 1 {
		s.Health = &app.Health{Failures: new(1 + pick(2)), Probe: app.Probe{Interval: new(time.Second)}}
	}
	if pick(4) == 1 {
		s.Recycle.MaxAge = 45 * time.Second
	}
	if pick(3) == 0 {
		s.Idle.After = 10 * time.Second
	}
	return s
}

func (m *machine) do(d deed) {
	m.disk.fail(nil)
	switch d.verb {
	case "apply", "verify":
		_, err := m.Apply(ctx, ApplyRequest{Specs: []app.Spec{d.spec()}, Verify: d.verb == "verify"})
		m.allowed(d, err)
	case "activate":
		m.waiting.Go(func() {
			var failed []app.InstanceID
			if e := m.proxies.ready(d.name); len(e) > 0 && d.n%2 == 0 {
				failed = append(failed, e[0].Instance)
			}
			set, err := m.Activate(ctx, d.name, 0, 0, failed)
			if err == nil && !slices.ContainsFunc(set.Endpoints, func(e app.Endpoint) bool { return !e.Draining }) {
				m.t.Errorf("activated without an endpoint: %+v", set)
			}
		})
	case "crash", "sicken":
		list := m.host.alive()
		if len(list) == 0 {
			return
		}
		p := list[d.n%len(list)]
		if d.verb == "crash" {
			p.crash()
			return
		}
		p.fallSick(errors.New("refused"))
		m.Failure(p.launch.Spec.Name, p.launch.ID, "refused", "")
		if d.n%3 > 0 {
			time.AfterFunc(time.Second, func() { p.fallSick(nil) })
		}
	case "stop":
		_, _, err := m.Stop(ctx, d.name, "")
		m.allowed(d, err, app.NotFound)
	case "start":
		_, _, err := m.Start(ctx, d.name, "")
		m.allowed(d, err, app.NotFound, app.WrongState)
	case "offline":
		_, _, err := m.SetOffline(ctx, d.name, html("x"), "")
		m.allowed(d, err, app.NotFound)
	case "online":
		_, _, err := m.SetOffline(ctx, d.name, nil, "")
		m.allowed(d, err, app.NotFound, app.WrongState)
	case "page", "no page", "touch", "quiet":
		if m.folders.folder(d.name).Dir == "" {
			return
		}
		m.folders.change(d.name, func(s *app.FolderState) {
			switch {
			case d.verb == "page":
				s.Page = html(number(int64(d.n)))
			case d.verb == "no page":
				s.Page = nil
			case d.verb == "touch":
				s.Changing = "file"
			case s.Changing != "":
				s.Changing, s.Changed = "", "file"
				s.Settled++
			}
		})
	case "recycle":
		_, _, err := m.Recycle(ctx, d.name, "")
		m.allowed(d, err, app.NotFound, app.WrongState)
	case "unasked":
		if list := m.host.alive(); d.n%2 == 0 && len(list) > 0 {
			l := list[d.n%len(list)].launch
			m.postTo(l.Spec.Name, dueNow{l.ID})
			return
		}
		m.postTo(d.name, dueNow{})
	case "scale":
		_, _, err := m.Scale(ctx, d.name, 1+d.n%4, "")
		m.allowed(d, err, app.NotFound)
	case "rollback":
		_, _, err := m.Rollback(ctx, d.name, 0, "")
		m.allowed(d, err, app.NotFound)
	case "delete":
		_, err := m.Delete(ctx, d.name, "", "")
		m.allowed(d, err, app.NotFound)
	case "behave":
		m.host.mu.Lock()
		m.behave[number(int64(d.n%3))] = behaviours[d.n/3%len(behaviours)]
		m.host.mu.Unlock()
	case "busy":
		m.proxies.update(func() {
			m.proxies.busy, m.proxies.idle = d.n%2 == 0, time.Now()
			clear(m.proxies.inFlight)
			for _, p := range m.host.alive() {
				m.proxies.inFlight[p.launch.ID] = d.n % 2
			}
		})
	case "reboot":
		m.watcher.Stop()
		m.reboot()
		m.watcher, _ = m.Instances().Watch()
	case "full disk":
		m.disk.fail(errors.New("no space left on device"))
	}
}

// check looks at what must hold at every moment.
func (m *machine) check(when string) {
	synctest.Wait()
	m.checkPhases(when)
	live := map[string]int{}
	all := m.Instances().All()
	for _, i := range all {
		if i.Phase < app.PhaseDraining {
			live[i.App]++
		}
	}
	for _, p := range m.host.alive() {
		i, ok := all[p.launch.ID]
		if !ok || i.Phase == app.PhaseExited {
			m.fault("%s: process %s of %s is nobody's: %+v", when, p.launch.ID, p.launch.Spec.Name, i)
		}
	}
	for _, name := range []string{"a", "b"} {
		a, ok := m.Apps().Get(name)
		limit := 0
		if set, _ := m.proxies.Current(name); ok && !a.Stopped && set.Offline == nil {
			limit = max(*desiredOf(a.Stored).Spec.Instances, *servingOf(a.Stored).Spec.Instances) + 1
		}
		if live[name] > limit && !m.folders.changing(name) { // nothing is done meanwhile
			m.fault("%s: %d of %s are live, at most %d should be", when, live[name], name, limit)
		}
		m.checkSet(when, name)
	}
}

// checkSet compares what the proxies have with what there is.
func (m *machine) checkSet(when, name string) {
	all := m.Instances().All()
	ready := m.proxies.ready(name)
	for _, e := range ready {
		if i := all[e.Instance]; i.Phase != app.PhaseReady {
			m.fault("%s: instance %s is in the set and in phase %d", when, e.Instance, i.Phase)
		}
	}
	for _, i := range all {
		if i.App != name || i.Phase != app.PhaseReady || len(ready) > 0 && m.settles(i) {
			continue
		}
		if !slices.ContainsFunc(ready, func(e app.Endpoint) bool { return e.Instance == i.ID }) {
			m.fault("%s: instance %s of %s is ready and not in the set", when, i.ID, name)
		}
	}
}

// settles tells whether a new instance need not take requests yet, where others do:
// it may have been unready meanwhile.
func (m *machine) settles(i app.Instance) bool {
	return i.Rollout != "" && (time.Since(i.ReadyTime) < 2*time.Second || time.Since(m.changed[i.ID]) < 2*time.Second)
}

// checkPhases sees that instances go through their phases in order.
func (m *machine) checkPhases(when string) {
	changed, _ := m.watcher.Take()
	for id, i := range changed {
		was, is := m.phases[id], i.Phase
		back := was == app.PhaseUnready && is == app.PhaseReady
		if is < was && !back && was != 0 {
			m.fault("%s: instance %s went from phase %d to %d", when, id, was, is)
		}
		m.phases[id], m.changed[id] = is, time.Now()
	}
}

// settle lets everything come to rest, and looks at what it has come to.
func (m *machine) settle() {
	m.disk.fail(nil)
	for _, name := range []string{"a", "b"} {
		if m.folders.folder(name).Dir != "" {
			m.folders.noPage(name)
			m.folders.quiet(name)
		}
	}
	m.host.mu.Lock()
	clear(m.behave)
	for _, p := range m.host.processes {
		p.fallSick(nil)
	}
	m.host.mu.Unlock()
	m.proxies.update(func() { clear(m.proxies.inFlight); m.proxies.busy = true })
	m.pass(5 * time.Minute)
	m.waiting.Wait() // everybody is answered
	m.check("in the end")
	for id, r := range m.Rollouts().All() {
		if a, ok := m.Apps().Get(r.App); !r.Phase.Done() && !(ok && aging(a)) {
			m.fault("rollout %s of %s never ends: %+v", id, r.App, r)
		}
	}
	for _, name := range []string{"a", "b"} {
		m.checkRest(name)
		_, _ = m.Delete(ctx, name, "", "")
	}
	m.pass(time.Minute)
	if n := len(m.host.alive()); n != 0 {
		m.fault("%d processes are left", n)
	}
	for _, p := range m.host.all() {
		if !p.isForgotten() {
			m.fault("the record of %s is left", p.launch.ID)
		}
	}
	if n := len(m.Instances().All()); n != 0 {
		m.fault("%d instances are left", n)
	}
	m.ports.mu.Lock()
	if n := len(m.ports.used); n != 0 {
		m.fault("%d ports are left", n)
	}
	m.ports.mu.Unlock()
	m.watcher.Stop()
	m.end()
}

// aging tells whether the app never comes to rest, for it is recycled again and
// again.
func aging(a app.App) bool { return servingOf(a.Stored).Spec.Recycle.MaxAge > 0 }

// checkRest looks at an app that has come to rest.
func (m *machine) checkRest(name string) {
	var mine []*fakeProcess
	for _, p := range m.host.alive() {
		if p.launch.Spec.Name == name {
			mine = append(mine, p)
		}
	}
	a, ok := m.Apps().Get(name)
	if !ok {
		if len(mine) > 0 {
			m.fault("%s is removed and %d of it run", name, len(mine))
		}
		return
	}
	serving := servingOf(a.Stored)
	for _, p := range mine {
		if replaces(app.Generation{Spec: p.launch.Spec, ResolvedDir: p.launch.Dir}, serving) {
			m.fault("%s runs an instance of generation %d, %d serves", name, p.launch.Generation, a.Serving)
		}
	}
	if a.Desired != a.Serving && a.Failed == nil && len(mine) > 0 {
		m.fault("%s desires %d and serves %d, and nothing says why", name, a.Desired, a.Serving)
	}
	n := *serving.Spec.Instances
	if aging(a) { // one may be on its way
		n = min(max(n-1, len(mine)), n+1)
		a.Ready = len(mine)
	}
	switch when := serving.Spec.Restart.When; {
	case a.Stopped && (len(mine) > 0 || a.State != app.StateStopped):
		m.fault("%s is stopped, %d run, and it is %s", name, len(mine), a.State)
	case a.Stopped:
	case a.Offline != nil && (len(mine) > 0 || a.State != app.StateOffline):
		m.fault("%s is offline, %d run, and it is %s", name, len(mine), a.State)
	case a.Offline != nil:
	case serving.Spec.Start.When == app.StartOnBoot && when == app.RestartAlways && serving.Spec.Idle.After == 0 && len(mine) != n:
		m.fault("%s should run, %d of %d do: %s", name, len(mine), n, a.State)
	case len(mine) > 0 && when == app.RestartAlways && len(mine) != n:
		m.fault("%d of %d of %s run: %s", len(mine), n, name, a.State)
	case len(mine) != a.Ready:
		m.fault("%d of %s run, %d are ready", len(mine), name, a.Ready)
	}
}
