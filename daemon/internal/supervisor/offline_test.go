package supervisor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func html(s string) *app.OfflinePage { return &app.OfflinePage{Page: []byte(s)} }

// shows checks what the proxies have of an app's page; "" is none.
func (r *rig) shows(name, page string) {
	r.t.Helper()
	synctest.Wait()
	set, _ := r.proxies.Current(name)
	got := ""
	if set.Offline != nil {
		got = string(set.Offline.Page)
	}
	if got != page || (set.Offline != nil) != (page != "") {
		r.t.Fatalf("the proxies have page %q, want %q", got, page)
	}
}

func (r *rig) setOffline(name string, page *app.OfflinePage) (app.App, string) {
	r.t.Helper()
	a, id, err := r.SetOffline(ctx, name, page, "uid 7")
	if err != nil {
		r.t.Fatal(err)
	}
	return a, id
}

func TestOffline_PageInTheFolderDrainsAndStops(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 1 })
		r.folders.page("web", "soon")
		r.shows("web", "soon") // at once, whatever is still open
		r.wantState("web", app.StateOffline)
		r.pass(10 * time.Second)
		if p.wasSignalled() {
			t.Fatal("signalled under an open request")
		}
		r.proxies.update(func() { r.proxies.inFlight[p.launch.ID] = 0 })
		r.pass(time.Second)
		r.wantAlive(0)
		if _, f := r.activate("web"); f == nil {
			t.Fatal("a request starts it")
		} else if wantReason(t, f, app.ReasonAppOffline); f.Revision == 0 {
			t.Error("the refusal has no revision that makes it void")
		}
		r.folders.page("web", "later")
		r.shows("web", "later")

		r.folders.noPage("web")
		r.shows("web", "")
		r.wantState("web", app.StateIdle)
		r.wantAlive(0)
		if _, f := r.activate("web"); f != nil {
			t.Fatal(f)
		}
		r.wantState("web", app.StateRunning)
		events := append(r.recorder.find(app.EventAppOffline), r.recorder.find(app.EventAppOnline)...)
		if len(events) != 2 || events[0].Actor != "" || !strings.Contains(events[0].Message, "app_offline.htm is in /srv/web") {
			t.Errorf("events %+v", events)
		}
	})
}

func TestOffline_WhoWaitsForAStartIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: time.Minute})
		r.apply(spec("web"))
		faults := make(chan *app.Fault, 1)
		go func() { _, f := r.activate("web"); faults <- f }()
		r.pass(time.Second)
		r.folders.page("web", "x")
		wantReason(t, <-faults, app.ReasonAppOffline)
		r.pass(time.Second)
		r.wantAlive(0)
		if r.recorder.count(app.EventStartFailed) != 0 {
			t.Error("that start counts as failed")
		}
	})
}

func TestOffline_PageBeforeTheFirstStart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.folders.put("/srv/web", html("early"))
		res := r.apply(spec("web", onBoot))[0]
		r.shows("web", "early")
		if len(res.Warnings) != 1 || res.App.State != app.StateOffline {
			t.Errorf("result %+v", res)
		}
		r.pass(time.Minute)
		if r.host.count() != 0 {
			t.Fatal("it was started")
		}
		// To verify what may not run cannot be waited for.
		verified, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("web", onBoot, version("2"))}, Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		if id := verified[0].Rollout; id != "" {
			r.ends(id, app.RolloutComplete)
		}
		r.folders.noPage("web")
		r.until("a boot app starts at once", func() bool { return r.app("web").State == app.StateRunning })
		if got := r.generationsAlive(); got[2] != 1 {
			t.Fatalf("generations %v", got)
		}
	})
}

func TestOffline_PageGoesBeforeAFailedStart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: -1, exitAfter: time.Millisecond, code: 1})
		r.apply(spec("web", func(s *app.Spec) { s.Restart.Backoff = new(time.Hour); s.Restart.MaxBackoff = new(time.Hour) }))
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartFailed)
		r.folders.page("web", "x")
		_, f = r.activate("web")
		wantReason(t, f, app.ReasonAppOffline)
		r.host.behave(script{})
		r.folders.noPage("web")
		if _, f = r.activate("web"); f != nil {
			t.Fatalf("what failed before counts: %v", f)
		}
	})
}

func TestOffline_ByCommandIsDurable(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		a, id := r.setOffline("web", html("ours"))
		if a.State != app.StateOffline {
			t.Errorf("it is %s", a.State)
		}
		r.ends(id, app.RolloutComplete)
		r.wantAlive(0)
		rollouts := r.recorder.count(app.EventRolloutStarted)
		r.reboot()
		r.shows("web", "ours")
		r.wantState("web", app.StateOffline)
		if n := r.recorder.count(app.EventRolloutStarted) - rollouts; n != 0 {
			t.Errorf("the daemon's restart is %d rollouts of an app that was offline before", n)
		}
		// Another page for the same, and the folder's has to wait.
		_, id = r.setOffline("web", html("other"))
		r.ends(id, app.RolloutComplete)
		r.folders.page("web", "the folder's")
		r.shows("web", "other")
		a, id = r.setOffline("web", nil)
		if id != "" || a.State != app.StateOffline {
			t.Errorf("rollout %q, %s, with a page in the folder", id, a.State)
		}
		r.shows("web", "the folder's")
		r.folders.noPage("web")
		r.shows("web", "")
		_, id = r.setOffline("web", nil) // which it is not
		if id != "" || r.recorder.count(app.EventAppOnline) != 2 {
			t.Errorf("rollout %q, %d events", id, r.recorder.count(app.EventAppOnline))
		}
		if e := r.recorder.find(app.EventAppOffline); e[0].Actor != "uid 7" {
			t.Errorf("event %+v", e[0])
		}
	})
}

func TestOffline_IsCompleteOnceTheProxiesHaveThePage(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		set, _ := r.proxies.Current("web")
		r.proxies.acknowledge("web", set.Revision)
		_, id := r.setOffline("web", html("x"))
		r.pass(time.Minute)
		if r.rollout(id).Phase.Done() {
			t.Fatal("complete before a proxy has the page")
		}
		set, _ = r.proxies.Current("web")
		r.proxies.acknowledge("web", set.Revision)
		r.ends(id, app.RolloutComplete)
	})
}

func TestOffline_TheNewestOfStopStartAndOfflineCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		id := r.wantAlive(1)[0].launch.ID
		r.proxies.update(func() { r.proxies.inFlight[id] = 1 }) // so that it is not done yet
		_, first := r.setOffline("web", html("x"))
		_, stop, err := r.Stop(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.proxies.update(func() { r.proxies.inFlight[id] = 0 })
		r.ends(first, app.RolloutSuperseded)
		r.ends(stop, app.RolloutComplete)
		r.shows("web", "")
		if _, _, err := r.SetOffline(ctx, "web", nil, ""); app.KindOf(err) != app.WrongState {
			t.Errorf("online of a stopped app: %v", err)
		}
		_, again := r.setOffline("web", html("y"))
		r.ends(again, app.RolloutComplete)
		r.wantState("web", app.StateOffline)
		_, start, err := r.Start(ctx, "web", "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(start, app.RolloutComplete)
		r.shows("web", "")
		r.wantState("web", app.StateRunning)
	})
}

func TestOffline_WhatIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"), spec("file"))
		r.setOffline("web", &app.OfflinePage{BuiltIn: true})
		r.folders.page("file", "x")
		for what, err := range map[string]error{
			"recycle":                      second(r.Recycle(ctx, "web", "")),
			"recycle of one by its folder": second(r.Recycle(ctx, "file", "")),
			"start of one by its folder":   second(r.Start(ctx, "file", "")),
		} {
			if f, _ := err.(*app.Fault); f == nil || f.Reason != app.ReasonAppOffline || !strings.Contains(f.Message, "offline") {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, _, err := r.SetOffline(ctx, "web", html(strings.Repeat("x", app.MaxOfflinePage+1)), "")
		if app.KindOf(err) != app.Invalid {
			t.Errorf("large page: %v", err)
		}
		if _, _, err = r.SetOffline(ctx, "nobody", html("x"), ""); app.KindOf(err) != app.NotFound {
			t.Errorf("unknown: %v", err)
		}
	})
}

func second(_ app.App, _ string, err error) error { return err }

func TestOffline_ApplyIsStoredAndStaysOffline(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.setOffline("web", html("x"))
		r.pass(time.Minute)
		r.ends(r.apply(spec("web", version("2"), onBoot))[0].Rollout, app.RolloutComplete)
		r.wantAlive(0)
		r.wantState("web", app.StateOffline)
		r.shows("web", "x")
		_, id := r.setOffline("web", nil)
		r.ends(id, app.RolloutComplete) // which of a boot app is: it runs
		if got := r.generationsAlive(); got[2] != 1 || len(got) != 1 {
			t.Fatalf("generations %v", got)
		}
	})
}

func TestOffline_SupersedesARolloutAndServesTheNewestAfterwards(t *testing.T) {
	for _, by := range []string{"command", "folder"} {
		t.Run(by, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.up(spec("web", version("1")))
				roll := r.apply(spec("web", version("2")))[0].Rollout
				r.pass(500 * time.Millisecond)
				if by == "command" {
					r.setOffline("web", html("x"))
				} else {
					r.folders.page("web", "x")
				}
				r.ends(roll, app.RolloutSuperseded)
				r.pass(time.Minute)
				r.wantAlive(0)
				if by == "command" {
					r.setOffline("web", nil)
				} else {
					r.folders.noPage("web")
				}
				if _, f := r.activate("web"); f != nil {
					t.Fatal(f)
				}
				if got := r.generationsAlive(); got[2] != 1 || len(got) != 1 {
					t.Fatalf("generations %v", got)
				}
			})
		})
	}
}

func TestOffline_OnlyTheServingFolderCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.link("/srv/web", "/srv/r1")
		r.up(spec("web"))
		if w := r.folders.folder("web"); w.Dir != "/srv/r1" {
			t.Fatalf("watched %+v", w)
		}
		r.host.link("/srv/web", "/srv/r2")
		r.bad("2", script{boot: -1, exitAfter: time.Millisecond})
		r.ends(r.apply(spec("web", version("2")))[0].Rollout, app.RolloutFailed)
		if w := r.folders.folder("web"); w.Dir != "/srv/r1" {
			t.Fatalf("after a rollback %+v is watched", w)
		}
		// A release that comes with a page takes the app offline: nothing of it may run.
		r.host.link("/srv/web", "/srv/r3")
		r.folders.put("/srv/r3", html("not yet"))
		res := r.apply(spec("web", version("3")))[0]
		if res.Replaces || len(res.Warnings) != 1 {
			t.Errorf("result %+v", res)
		}
		r.ends(res.Rollout, app.RolloutComplete)
		r.wantAlive(0)
		r.shows("web", "not yet")
		if a := r.app("web"); a.Serving != 3 || !r.folders.watching("web", a.Stored) {
			t.Fatalf("generation %d serves, watched %+v", a.Serving, r.folders.folder("web"))
		}
		r.host.link("/srv/web", "/srv/r4")
		r.ends(r.apply(spec("web", version("4")))[0].Rollout, app.RolloutComplete)
		r.shows("web", "") // the next one has none
		r.wantState("web", app.StateIdle)
	})
}

func TestOffline_PageThatCameWhileNoDaemonWasThere(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		r.end()
		r.folders.put("/srv/web", html("x"))
		r.boot()
		r.shows("web", "x")
		r.pass(time.Minute)
		r.wantAlive(0)
		if r.recorder.count(app.EventAppOffline) != 1 {
			t.Error("no event says why")
		}
		r.reboot()
		if r.recorder.count(app.EventAppOffline) != 1 {
			t.Error("each daemon tells it again")
		}
	})
}

func TestOffline_RapidChangesLeaveNothingBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: 300 * time.Millisecond, stop: 200 * time.Millisecond})
		r.up(spec("web", noOverlap))
		for i := range 50 {
			r.folders.page("web", "x")
			r.pass(time.Duration(i*7) * time.Millisecond)
			if n := len(r.alive()); n > 1 {
				t.Fatalf("%d at once", n)
			}
			r.folders.noPage("web")
			done := make(chan struct{})
			go func() { r.activate("web"); close(done) }()
			r.pass(time.Duration(i*11%300) * time.Millisecond)
			defer func() { <-done }()
		}
		r.until("it runs", func() bool { return r.app("web").State == app.StateRunning })
		r.wantAlive(1)
		if r.recorder.count(app.EventStartFailed)+r.recorder.count(app.EventAppBlocked) != 0 {
			t.Error("a start that was called off counts as failed")
		}
	})
}

func TestOffline_OneStartedByHandComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web", manual))
		_, _, _ = r.Start(ctx, "web", "")
		r.pass(2 * time.Second)
		r.folders.page("web", "x")
		r.pass(2 * time.Second)
		r.wantAlive(0)
		r.folders.noPage("web")
		r.pass(2 * time.Second)
		r.wantAlive(1)
	})
}

// An app that was started by hand comes back whoever took it out, though the daemon
// that knew so has died meanwhile.
func TestOffline_OneStartedByHandComesBackAfterTheDaemonsDeath(t *testing.T) {
	file := func(r *rig) { r.folders.page("web", "x") }
	noFile := func(r *rig) { r.folders.noPage("web") }
	tests := map[string]struct{ out, dead, back func(r *rig) }{
		"by an operator": {
			out:  func(r *rig) { r.setOffline("web", html("x")); r.setOffline("web", html("y")) },
			back: func(r *rig) { r.setOffline("web", nil) },
		},
		"by its folder": {out: file, back: noFile},
		"by its folder, while no daemon was there": {
			dead: func(r *rig) { r.folders.put("/srv/web", html("x")) }, back: noFile,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.apply(spec("web", manual))
				_, _, _ = r.Start(ctx, "web", "")
				r.pass(2 * time.Second)
				if tt.out != nil {
					tt.out(r)
					r.pass(2 * time.Second)
				}
				for range 2 {
					r.die(func() {
						if tt.dead != nil {
							tt.dead(r)
						}
					})
					r.pass(2 * time.Second)
					r.wantAlive(0)
				}
				tt.back(r)
				r.pass(2 * time.Second)
				r.wantAlive(1)
				// That it ran is forgotten once it is stopped.
				_, _, _ = r.Stop(ctx, "web", "")
				r.setOffline("web", html("z"))
				r.die(func() {})
				r.setOffline("web", nil)
				r.pass(2 * time.Second)
				r.wantAlive(0)
			})
		})
	}
}

func TestOffline_ConditionSaysWhatKeepsItOut(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		has := func(kind, text string) {
			t.Helper()
			for _, c := range r.app("web").Conditions {
				if c.Type == kind && strings.Contains(c.Message, text) {
					return
				}
			}
			t.Fatalf("conditions %+v lack %s: %s", r.app("web").Conditions, kind, text)
		}
		r.folders.page("web", "x")
		has(app.CondOffline, "/srv/web")
		r.setOffline("web", html("y"))
		has(app.CondOffline, "operator")
		r.folders.change("web", func(s *app.FolderState) { s.Polled = "no watches" })
		has(app.CondFolderPolled, "no watches")
		r.folders.change("web", func(s *app.FolderState) { s.Polled = "" })
		if n := r.recorder.count(app.EventConditionAppeared) + r.recorder.count(app.EventConditionDisappear); n != 2 {
			t.Errorf("%d events of it", n)
		}
	})
}

func TestOffline_TakesEffectOnAFullDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		r.apply(spec("web", version("2")))
		r.disk.fail(errFull)
		r.folders.page("web", "x")
		r.pass(time.Minute)
		r.wantAlive(0)
		r.shows("web", "x")
		r.disk.fail(nil)
	})
}

func TestFolder_IsForgottenWithItsApp(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web"))
		r.folders.page("web", "x")
		id, err := r.Delete(ctx, "web", "", "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutComplete)
		if w := r.folders.folder("web"); w.Dir != "" {
			t.Errorf("still watched: %+v", w)
		}
		r.apply(spec("web"))
		r.shows("web", "x") // it is still there
	})
}
