package watch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func TestHub_WatchGivesExactlyWhatChangesAfterIt(t *testing.T) {
	h := NewHub[string, int]()
	h.Set("a", 1)
	w, snapshot := h.Watch()
	defer w.Stop()
	if !maps.Equal(snapshot, map[string]int{"a": 1}) {
		t.Fatalf("snapshot %v", snapshot)
	}
	h.Set("b", 2)
	h.Set("b", 3)
	h.Delete("a")
	changed, removed, err := w.Next(t.Context())
	if err != nil || !maps.Equal(changed, map[string]int{"b": 3}) || !slices.Equal(removed, []string{"a"}) {
		t.Fatalf("changed %v, removed %v, %v", changed, removed, err)
	}
}

func TestWatcher_NextWaitsForAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub[string, int]()
		w, _ := h.Watch()
		defer w.Stop()
		got := make(chan map[string]int, 1)
		go func() {
			changed, _, _ := w.Next(t.Context())
			got <- changed
		}()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("Next returned without a change")
		}
		h.Set("a", 1)
		if changed := <-got; changed["a"] != 1 {
			t.Fatalf("changed %v", changed)
		}
	})
}

func TestWatcher_NextEndsWithItsContext(t *testing.T) {
	h := NewHub[string, int]()
	w, _ := h.Watch()
	defer w.Stop()
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, _, err := w.Next(ctx); !errors.Is(err, gone) {
		t.Fatalf("error %v, want the context's cause", err)
	}
}

func TestWatcher_StoppedOneCostsNothing(t *testing.T) {
	h := NewHub[string, int]()
	w, _ := h.Watch()
	w.Stop()
	h.Set("a", 1)
	if len(h.watchers) != 0 || len(w.dirty) != 0 {
		t.Fatal("the hub still serves a stopped watcher")
	}
}

// Whatever is set and deleted between two looks, a watcher that applies what it
// is given holds what the hub holds.
func TestWatcher_FollowsTheHub(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := NewHub[int, int]()
		w, seen := h.Watch()
		defer w.Stop()
		t.Repeat(map[string]func(*rapid.T){
			"set":    func(t *rapid.T) { h.Set(rapid.IntRange(0, 5).Draw(t, "key"), rapid.Int().Draw(t, "value")) },
			"delete": func(t *rapid.T) { h.Delete(rapid.IntRange(0, 5).Draw(t, "key")) },
			"look": func(t *rapid.T) {
				changed, removed := w.Take()
				maps.Copy(seen, changed)
				for _, k := range removed {
					delete(seen, k)
				}
				if !maps.Equal(seen, h.All()) {
					t.Fatalf("the watcher holds %v, the hub %v", seen, h.All())
				}
			},
		})
	})
}

// A watcher that leaves at any moment and comes back with where it was misses nothing.
func TestHub_ResumeFollowsTheHub(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := NewHub[int, int]()
		w, seen := h.Watch()
		look := func() {
			changed, removed := w.Take()
			maps.Copy(seen, changed)
			for _, k := range removed {
				delete(seen, k)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set":    func(t *rapid.T) { h.Set(rapid.IntRange(0, 5).Draw(t, "key"), rapid.Int().Draw(t, "value")) },
			"delete": func(t *rapid.T) { h.Delete(rapid.IntRange(0, 5).Draw(t, "key")) },
			"look":   func(*rapid.T) { look() },
			"resume": func(t *rapid.T) {
				seq := w.Seq()
				w.Stop()
				var ok bool
				if w, ok = h.Resume(seq); !ok {
					t.Fatalf("%d is not known", seq)
				}
				look()
				if !maps.Equal(seen, h.All()) {
					t.Fatalf("the watcher holds %v, the hub %v", seen, h.All())
				}
			},
		})
	})
}

func TestHub_ResumeRefusesWhatItCannotKnow(t *testing.T) {
	h := NewHub[int, int]()
	if _, ok := h.Resume(1); ok {
		t.Error("a place of the future was resumed")
	}
	for k := range maxRemoved + 2 {
		h.Set(k, k)
		h.Delete(k)
	}
	if _, ok := h.Resume(0); ok {
		t.Error("removals were forgotten, and the watcher was not told")
	}
	w, ok := h.Resume(h.history.seq)
	if !ok {
		t.Fatal("the newest place is not known")
	}
	defer w.Stop()
	select {
	case <-w.Wake():
		t.Error("it was woken for nothing")
	default:
	}
}
