package supervisor

import (
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func maxAge(d time.Duration) func(*app.Spec) { return func(s *app.Spec) { s.Recycle.MaxAge = d } }
func at(times ...string) func(*app.Spec)     { return func(s *app.Spec) { s.Recycle.At = times } }

func TestMaxAge_IsEachInstancesOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", maxAge(time.Hour)))
		r.pass(30 * time.Minute)
		if _, _, err := r.Scale(ctx, "web", 2, ""); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		first, second := r.wantAlive(2)[0], r.wantAlive(2)[1]
		r.pass(28 * time.Minute)
		r.wantAlive(2)
		r.pass(2 * time.Minute)
		if !closed(first.gone) || closed(second.gone) || len(r.alive()) != 2 {
			t.Fatalf("the first is gone: %v, the second: %v", closed(first.gone), closed(second.gone))
		}
		r.pass(30 * time.Minute)
		if !closed(second.gone) || len(r.alive()) != 2 {
			t.Fatal("the second stays")
		}
		e := r.recorder.find(app.EventInstanceRecycled)
		if len(e) != 2 || e[0].Attributes["trigger"] != "recycle.max_age" || e[0].Attributes["limit"] != "1h0m0s" || e[0].Attributes["measured"] != "1h0m0s" {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestMaxAge_CountsFromTheStartAcrossDaemons(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", maxAge(time.Hour)))
		p := r.wantAlive(1)[0]
		r.pass(50 * time.Minute)
		r.reboot()
		r.pass(9 * time.Minute)
		r.wantAlive(1)
		r.pass(2 * time.Minute)
		if !closed(p.gone) || len(r.alive()) != 1 {
			t.Fatal("it is not replaced an hour after its start")
		}
	})
}

// The wall clock was set while no daemon was there: how old an instance is, and how
// long it has been ready, is as it was.
func TestMaxAge_IsNotTheWallClocks(t *testing.T) {
	for _, ahead := range []time.Duration{50 * time.Hour, -50 * time.Hour} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.up(spec("web", maxAge(time.Hour), idleAfter(3*time.Hour)))
			p := r.wantAlive(1)[0]
			r.pass(50 * time.Minute)
			p.mu.Lock()
			p.info.Began = p.info.StartTime
			p.info.StartTime = p.info.StartTime.Round(0).Add(-ahead)
			ready, err := time.Parse(time.RFC3339Nano, p.info.Notes[noteReady])
			p.info.Notes[noteReady] = ready.Add(-ahead).Format(time.RFC3339Nano)
			p.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			r.reboot()
			r.pass(9 * time.Minute)
			if len(r.alive()) != 1 || closed(p.gone) {
				t.Fatalf("a clock that was set by %v has it replaced", ahead)
			}
			r.pass(2 * time.Minute)
			if !closed(p.gone) || len(r.alive()) != 1 {
				t.Fatalf("a clock that was set by %v keeps it from being replaced an hour after its start", ahead)
			}
		})
	}
}

func TestMaxAge_OfAnIdleAppStartsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", maxAge(time.Hour), idleAfter(10*time.Minute)))
		r.pass(3 * time.Hour)
		r.wantAlive(0)
		if n := r.host.count(); n != 1 {
			t.Fatalf("%d starts", n)
		}
	})
}

func TestAt_OnceADayAndNotBeforeItWasAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		// Whatever the time zone, the time of day is an hour ahead.
		text := time.Now().Add(time.Hour).Local().Format("15:04")
		r.up(spec("web", instances(2)))
		r.pass(2 * time.Hour)
		r.apply(spec("web", instances(2), at(text))) // an hour late for today
		r.pass(21 * time.Hour)
		if n := r.host.count(); n != 2 {
			t.Fatalf("%d starts before it is time", n)
		}
		r.pass(3 * time.Hour)
		if n := r.host.count(); n != 4 {
			t.Fatalf("%d starts once it was time", n)
		}
		e := r.recorder.find(app.EventAppRecycled)
		if len(e) != 1 || e[0].Attributes["trigger"] != "recycle.at" || e[0].Attributes["limit"] != text {
			t.Fatalf("events %+v", e)
		}
		r.reboot()
		r.pass(time.Hour)
		if n := r.host.count(); n != 4 {
			t.Fatalf("%d starts: a new daemon does it again", n)
		}
		r.pass(23 * time.Hour)
		if n := r.host.count(); n != 6 {
			t.Fatalf("%d starts after the second day", n)
		}
	})
}

func TestAt_ADaemonThatWasAwayDoesItOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", at(time.Now().Add(time.Hour).Local().Format("15:04"))))
		r.end()
		r.pass(2 * time.Hour)
		r.boot()
		r.pass(time.Minute)
		if n := r.host.count(); n != 2 {
			t.Fatalf("%d starts", n)
		}
		r.pass(10 * time.Hour)
		if n := r.host.count(); n != 2 {
			t.Fatalf("%d starts", n)
		}
	})
}

func TestMaxRequests_ReplacesThatInstance(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", instances(2), func(s *app.Spec) { s.Recycle.MaxRequests = 100 }))
		one, other := r.wantAlive(2)[0], r.wantAlive(2)[1]
		r.proxies.update(func() { r.proxies.requests[one.launch.ID], r.proxies.requests[other.launch.ID] = 99, 5 })
		r.pass(time.Minute)
		r.wantAlive(2)
		if r.host.count() != 2 {
			t.Fatal("it is replaced before the limit")
		}
		r.proxies.update(func() { r.proxies.requests[one.launch.ID] = 101 })
		r.pass(10 * time.Second)
		if !closed(one.gone) || closed(other.gone) || len(r.alive()) != 2 {
			t.Fatalf("one is gone: %v, the other: %v", closed(one.gone), closed(other.gone))
		}
		e := r.recorder.find(app.EventInstanceRecycled)
		if len(e) != 1 || e[0].Attributes["limit"] != "100" || e[0].Attributes["measured"] != "101" {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestMaxMemory_IsSampledOnlyWhereItIsAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		r.pass(time.Hour)
		if p.measures != 0 {
			t.Fatalf("it is measured %d times", p.measures)
		}
		r.apply(spec("web", func(s *app.Spec) { s.Recycle.MaxMemory = 100 << 20 }))
		p.mu.Lock()
		p.memory = 100 << 20
		p.mu.Unlock()
		r.pass(time.Minute)
		if p.measures < 10 || p.measures > 15 || closed(p.gone) {
			t.Fatalf("it is measured %d times in a minute", p.measures)
		}
		p.mu.Lock()
		p.memory++
		p.mu.Unlock()
		r.pass(20 * time.Second)
		if !closed(p.gone) || len(r.alive()) != 1 {
			t.Fatal("it is not replaced")
		}
		e := r.recorder.find(app.EventInstanceRecycled)
		if len(e) != 1 || e[0].Attributes["limit"] != "104857600" || e[0].Attributes["measured"] != "104857601" {
			t.Fatalf("events %+v", e)
		}
	})
}

func TestMaxAge_OfAWorker(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{boot: 2 * time.Second, nowhere: true})
		r.apply(spec("job", maxAge(time.Hour), func(s *app.Spec) { s.Listen.Mode, s.Routes = app.ListenNone, nil }))
		r.pass(30 * time.Minute)
		old := r.wantAlive(1)[0]
		for !closed(old.gone) {
			if n := len(r.alive()); n < 1 || n > 2 {
				t.Fatalf("%d run", n)
			}
			if time.Since(old.info.StartTime) > 2*time.Hour {
				t.Fatal("it is not replaced")
			}
			r.pass(time.Second)
		}
		r.pass(time.Minute)
		r.wantAlive(1)
		r.wantState("job", app.StateRunning)
	})
}
