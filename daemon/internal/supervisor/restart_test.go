package supervisor

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestRestartDelay_FirstIsImmediateThenDoublesToTheMaximum(t *testing.T) {
	r := app.Restart{Backoff: new(100 * time.Millisecond), MaxBackoff: new(time.Second)}
	want := []time.Duration{0, 0, 100, 200, 400, 800, 1000, 1000}
	for streak, w := range want {
		if got := restartDelay(streak, r); got != w*time.Millisecond {
			t.Errorf("streak %d: %v, want %v", streak, got, w*time.Millisecond)
		}
	}
	if got := restartDelay(1_000_000, r); got != time.Second {
		t.Errorf("a long streak: %v", got)
	}
	if got := retryDelay(1, r); got != time.Second {
		t.Errorf("a request may retry after %v, at least 1s was promised", got)
	}
	if got := retryDelay(9, app.Restart{Backoff: new(time.Minute), MaxBackoff: new(time.Hour)}); got != time.Hour {
		t.Errorf("a request may retry after %v, the backoff is an hour", got)
	}
}

func TestFailures_BlockWhileMoreThanTheBudgetLieWithinAMinute(t *testing.T) {
	var f failures
	for _, s := range []int{0, 10, 20} {
		f.add(now.Add(time.Duration(s) * time.Second))
	}
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	tests := []struct {
		limit, at int
		until     int // 0: not blocked
	}{
		{3, 20, 0}, {2, 20, 60}, {2, 59, 60}, {2, 60, 0}, {1, 20, 70}, {0, 20, 80}, {0, 81, 0},
	}
	for _, tt := range tests {
		until, blocked := f.blockedUntil(tt.limit, at(tt.at))
		if blocked != (tt.until > 0) || blocked && !until.Equal(at(tt.until)) {
			t.Errorf("limit %d at %d s: blocked %v until %v", tt.limit, tt.at, blocked, until.Sub(now))
		}
	}
}

func TestFailures_StreakEndsAfterTenSecondsReady(t *testing.T) {
	f := failures{streak: 5}
	if f.ended(9 * time.Second); f.streak != 5 {
		t.Error("it ended too early")
	}
	if f.ended(10 * time.Second); f.streak != 0 {
		t.Error("it did not end")
	}
}

func TestOnOurClock_IsNeverLaterThanNow(t *testing.T) {
	now := time.Now()
	for ago, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 0: 0, -time.Hour: 0} {
		got := onOurClock(now.Add(-ago).Round(0), now)
		if now.Sub(got) != want {
			t.Errorf("%v ago became %v ago", ago, now.Sub(got))
		}
	}
	if got := onOurClock(time.Time{}, now); !got.Equal(now) {
		t.Errorf("unknown became %v", got)
	}
}

func TestFailures_AgreeWithCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f failures
		var all []time.Time
		at := now
		limit := rapid.IntRange(0, 5).Draw(t, "limit")
		for _, d := range rapid.SliceOf(rapid.IntRange(0, 40)).Draw(t, "pauses") {
			at = at.Add(time.Duration(d) * time.Second)
			f.add(at)
			all = append(all, at)
			recent := 0
			for _, a := range all {
				if at.Sub(a) < rapidFailWindow {
					recent++
				}
			}
			if _, blocked := f.blockedUntil(limit, at); blocked != (recent > limit) {
				t.Fatalf("%d failures within the window, limit %d: blocked %v", recent, limit, blocked)
			}
		}
	})
}

func TestPortPool_GoesRoundAndLetsPortsRest(t *testing.T) {
	p := newPortPool(100, 102)
	p.next = 101
	p.setFixed(map[int]bool{102: true})
	take := func(at time.Duration) int {
		port, _ := p.take(now.Add(at))
		return port
	}
	if a, b := take(0), take(0); a != 101 || b != 100 {
		t.Fatalf("got %d and %d, want 101 and 100", a, b)
	}
	if port, ok := p.take(now); ok {
		t.Fatalf("got %d though all are in use or fixed", port)
	}
	p.release(100, now)
	p.release(101, now.Add(time.Second))
	if got := take(2 * time.Second); got != 100 {
		t.Errorf("got %d, the longest rested is 100", got)
	}
	p.setFixed(nil)
	if got := take(2 * time.Second); got != 102 {
		t.Errorf("got %d, 101 rests while 102 is free", got)
	}
	p.release(102, now.Add(3*time.Second))
	if got := take(portRest + 2*time.Second); got != 101 {
		t.Errorf("got %d, 101 has rested enough", got)
	}
}

func TestPortPool_NeverGivesAPortTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPortPool(1, 5)
		used := map[int]bool{}
		at := now
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			at = at.Add(time.Minute)
			if rapid.Bool().Draw(t, "take") {
				port, ok := p.take(at)
				if ok == (len(used) == 5) {
					t.Fatalf("took %d, %v, with %d in use", port, ok, len(used))
				}
				if ok && used[port] {
					t.Fatalf("%d is given twice", port)
				}
				if ok {
					used[port] = true
				}
				continue
			}
			port := rapid.IntRange(1, 5).Draw(t, "port")
			p.release(port, at)
			delete(used, port)
		}
	})
}

func TestGate_UrgentOnesGoFirstAndNoneIsLost(t *testing.T) {
	g := newGate(1)
	first := g.enter(false)
	boot, request, late := g.enter(false), g.enter(true), g.enter(false)
	g.hurry(late)
	g.leave(first)
	g.leave(first) // twice is once
	order := map[string]*turn{"request": request, "late": late, "boot": boot}
	for _, next := range []string{"request", "late", "boot"} {
		for name, turn := range order {
			if closed(turn.come) != (name == next) {
				t.Fatalf("it is the turn of %s, and %s has come: %v", next, name, closed(turn.come))
			}
		}
		g.leave(order[next])
		delete(order, next)
	}
	if t2 := g.enter(false); !closed(t2.come) {
		t.Fatal("a place was lost")
	}
}
