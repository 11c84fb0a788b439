package supervisor

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// fakeRecorder keeps events.
type fakeRecorder struct {
	mu     sync.Mutex
	events []app.Event
	noise  string // that instances write much of; set before the first starts
}

func (r *fakeRecorder) Record(e app.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Time = time.Now()
	r.events = append(r.events, e)
}

func (r *fakeRecorder) OutputTail(_ string, id app.InstanceID, most int) string {
	text := strings.Repeat(r.noise, 10_000) + "output of " + string(id)
	return text[max(0, len(text)-most):]
}

// last is the newest event of the kind.
func (r *fakeRecorder) last(id app.EventID) app.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range slices.Backward(r.events) {
		if e.ID == id {
			return e
		}
	}
	return app.Event{}
}

func (r *fakeRecorder) message(id app.EventID) string { return r.last(id).Message }

func (r *fakeRecorder) count(id app.EventID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.ID == id {
			n++
		}
	}
	return n
}

// fakeStore keeps apps as JSON, as the real one does.
type fakeStore struct {
	mu       sync.Mutex
	apps     map[string][]byte
	counters map[string]int64
	broken   error
	saves    int
}

func newStore() *fakeStore {
	return &fakeStore{apps: map[string][]byte{}, counters: map[string]int64{}}
}

func (s *fakeStore) Load() ([]app.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []app.Stored
	for _, name := range slices.Sorted(maps.Keys(s.apps)) {
		var a app.Stored
		if err := json.Unmarshal(s.apps[name], &a); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func (s *fakeStore) Save(put []app.Stored, remove []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	s.saves++
	for _, a := range put {
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		s.apps[a.Name] = b
		for _, g := range a.Generations {
			s.counters[a.Name] = max(s.counters[a.Name], g.Number)
		}
	}
	for _, name := range remove {
		delete(s.apps, name)
	}
	return nil
}

func (s *fakeStore) NextGeneration(name string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters[name] + 1, nil
}

func (s *fakeStore) get(name string) app.Stored {
	list, _ := s.Load()
	for _, a := range list {
		if a.Name == name {
			return a
		}
	}
	return app.Stored{}
}

func (s *fakeStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// find returns the events of a kind, oldest first.
func (r *fakeRecorder) find(id app.EventID) []app.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []app.Event
	for _, e := range r.events {
		if e.ID == id {
			found = append(found, e)
		}
	}
	return found
}
