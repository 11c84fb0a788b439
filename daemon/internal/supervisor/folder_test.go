package supervisor

import (
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestWatch_ChangedFilesRecycleOnceTheyAreQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2), func(s *app.Spec) { s.Recycle.Watch = []string{"web.config"} }))
		if w := r.folders.folder("web"); len(w.Watch) != 1 || w.Settle != time.Second {
			t.Fatalf("watched %+v", w)
		}
		before := r.wantAlive(2)
		for range 20 {
			r.folders.touch("web", "web.config")
			r.pass(time.Second)
		}
		if r.host.count() != 2 {
			t.Fatal("recycled while files change")
		}
		r.folders.quiet("web")
		r.until("recycled", func() bool { return r.host.count() == 4 && len(r.alive()) == 2 && !r.rollingOn("web") })
		for _, p := range r.wantAlive(2) {
			if p == before[0] || p == before[1] {
				t.Fatal("an old one is left")
			}
		}
		e := r.recorder.find(app.EventAppRecycled)
		if len(e) != 1 || e[0].Attributes["trigger"] != "recycle.watch" || e[0].Message != "app is recycled: web.config changed" {
			t.Errorf("events %+v", e)
		}
	})
}

// rollingOn tells whether a rollout of the app is under way.
func (r *rig) rollingOn(name string) bool {
	a := r.app(name)
	return a.Rollout != nil && !r.rollout(a.Rollout.ID).Phase.Done()
}

func TestWatch_NothingStartsWhileFilesChangeAndRequestsWait(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.folders.touch("web", "web.config")
		faults := make(chan *app.Fault, 1)
		go func() { _, f := r.activate("web"); faults <- f }()
		r.pass(30 * time.Second)
		if r.host.count() != 0 {
			t.Fatal("started amid changes")
		}
		r.folders.quiet("web")
		if f := <-faults; f != nil {
			t.Fatal(f)
		}
		r.pass(time.Minute)
		if r.host.count() != 1 {
			t.Fatalf("%d starts: what was started after the change has seen it", r.host.count())
		}
	})
}

// An app whose pattern matches the log that it, or another one, writes would never
// start, and nobody would know why.
func TestWatch_FilesThatAreNeverQuietAreNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		for range 25 {
			r.folders.touch("web", "web.config")
			r.pass(time.Second)
		}
		if list := r.app("web").Conditions; len(list) != 0 {
			t.Fatalf("conditions %+v during a deployment", list)
		}
		for range 10 {
			r.folders.touch("web", "App_Data/app.log")
			r.pass(time.Second)
		}
		wantCondition(t, r.app("web"), app.CondFolderChanging, "App_Data/app.log")
		r.folders.quiet("web")
		if list := r.app("web").Conditions; len(list) != 0 {
			t.Fatalf("conditions %+v, though all is quiet", list)
		}
	})
}

func TestWatch_OneThatWasStartingIsReplacedToo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: 10 * time.Second})
		r.apply(spec("web"))
		go r.activate("web")
		r.pass(time.Second)
		r.folders.touch("web", "web.config")
		r.folders.quiet("web")
		r.pass(2 * time.Minute)
		if r.host.count() != 2 {
			t.Fatalf("%d starts: it may have read what was there before", r.host.count())
		}
		r.wantAlive(1)
	})
}

func TestWatch_ARolloutWaitsToo(t *testing.T) {
	for name, change := range map[string]func(*app.Spec){"overlap": func(*app.Spec) {}, "no overlap": noOverlap} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.up(spec("web", version("1"), change))
				r.folders.touch("web", "web.config")
				id := r.apply(spec("web", version("2"), change))[0].Rollout
				r.pass(time.Minute)
				if got := r.generationsAlive(); got[1] != 1 || len(got) != 1 {
					t.Fatalf("generations %v", got)
				}
				r.folders.quiet("web")
				r.ends(id, app.RolloutComplete)
				r.until("only the new one runs", func() bool { got := r.generationsAlive(); return got[2] == 1 && len(got) == 1 })
			})
		})
	}
}

// A start that is tried once more, for it failed by no fault of the app's, waits for
// the files too.
func TestWatch_ASecondTryWaitsToo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		lost := script{boot: time.Second, unfit: &app.StartError{Step: "fork", Message: "the keeper died", Lost: true}}
		r.host.behaveBy(func(app.Launch) script {
			if r.host.launches == 1 {
				return lost
			}
			return script{boot: time.Second}
		})
		r.apply(spec("web"))
		done := make(chan *app.Fault, 1)
		go func() { _, fault := r.activate("web"); done <- fault }()
		r.pass(500 * time.Millisecond)
		r.folders.touch("web", "web.config")
		r.pass(time.Minute)
		if n := r.host.count(); n != 1 {
			t.Fatalf("%d starts while files change", n)
		}
		r.folders.quiet("web")
		if fault := <-done; fault != nil {
			t.Fatalf("the request that waited: %v", fault)
		}
		if n := r.host.count(); n != 2 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestWatch_NewPatternsAreWatchedWhenTheyServe(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		r.ends(r.apply(spec("web", func(s *app.Spec) { s.Recycle.Watch, s.Recycle.Settle = []string{"a"}, new(time.Minute) }))[0].Rollout, app.RolloutComplete)
		if w := r.folders.folder("web"); len(w.Watch) != 1 || w.Settle != time.Minute {
			t.Fatalf("watched %+v", w)
		}
		r.reboot()
		if !r.folders.watching("web", r.app("web").Stored) {
			t.Fatal("not watched after a restart of the daemon")
		}
	})
}

func TestWatch_AChangeThatNoDaemonSawRecyclesTheNextTime(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", func(s *app.Spec) { s.Recycle.Watch = []string{"web.config"} }))
		changedAt := func(at time.Time) {
			r.folders.change("web", func(s *app.FolderState) { s.Newest, s.NewestTime = "web.config", at })
			r.pass(time.Minute)
		}
		applied := r.wantAlive(1)[0].info.StartTime
		changedAt(applied.Add(-time.Second))
		r.pass(time.Hour)
		r.reboot()
		changedAt(applied.Add(-time.Second))
		if r.host.count() != 1 {
			t.Fatal("recycled for a file that is older than its process")
		}
		r.reboot()
		changedAt(applied.Add(time.Second))
		if r.host.count() != 2 || len(r.alive()) != 1 {
			t.Fatalf("%d starts, %d alive: it runs with what the file was before", r.host.count(), len(r.alive()))
		}
		if e := r.recorder.last(app.EventAppRecycled); e.Message != "app is recycled: web.config changed" {
			t.Errorf("event %+v", e)
		}
		changedAt(time.Now())
		if r.host.count() != 2 {
			t.Fatal("recycled before the files were quiet")
		}
	})
}

func TestWatch_ADeploymentThatTakesTheAppOfflineRecyclesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		r.folders.change("web", func(s *app.FolderState) {
			s.Page, s.Changed = html("deploying"), "web.config"
			s.Settled++
		})
		r.wantState("web", app.StateOffline)
		if n := r.recorder.count(app.EventAppRecycled); n != 0 {
			t.Fatalf("%d events say that an app is recycled which is stopped", n)
		}
	})
}
