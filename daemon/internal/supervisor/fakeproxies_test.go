package supervisor

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// fakeProxies is the publisher, and the proxies behind it.
type fakeProxies struct {
	mu       sync.Mutex
	sets     map[string]app.EndpointSet
	counters map[string]uint64
	history  []app.EndpointSet
	inFlight map[app.InstanceID]int
	requests map[app.InstanceID]uint64
	held     bool // they do not acknowledge
	lagging  bool // they have acknowledged no revision above the acked one
	acked    map[string]uint64
	idle     time.Time
	busy     bool
	synced   bool
	https    int
	removal  time.Duration // how long it takes to forget an app
	changed  chan struct{}
}

func newProxies() *fakeProxies {
	return &fakeProxies{
		sets: map[string]app.EndpointSet{}, counters: map[string]uint64{},
		inFlight: map[app.InstanceID]int{}, requests: map[app.InstanceID]uint64{}, changed: make(chan struct{}),
	}
}

// update changes what the proxies say.
func (f *fakeProxies) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeProxies) Publish(set app.EndpointSet) uint64 {
	f.update(func() {
		f.counters[set.App]++
		set.Epoch, set.Revision = 1, f.counters[set.App]
		f.sets[set.App] = set
		f.history = append(f.history, set)
	})
	return set.Revision
}

func (f *fakeProxies) HTTPSPort() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.https
}

func (f *fakeProxies) Remove(name string) {
	<-time.After(f.removal) // in virtual time, where it is set
	f.update(func() { delete(f.sets, name) })
}

func (f *fakeProxies) Current(name string) (app.EndpointSet, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set, ok := f.sets[name]
	return set, ok
}

func (f *fakeProxies) Synced() { f.update(func() { f.synced = true }) }

func (f *fakeProxies) wait(ctx context.Context, holds func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := !f.held && holds(), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeProxies) WaitApplied(ctx context.Context, name string, revision uint64) error {
	return f.wait(ctx, func() bool { return !f.lagging || f.acked[name] >= revision })
}

// acknowledge makes the proxies have everything of an app up to a revision, and
// no more.
func (f *fakeProxies) acknowledge(name string, revision uint64) {
	f.update(func() { f.lagging, f.acked = true, map[string]uint64{name: revision} })
}

func (f *fakeProxies) WaitDrained(ctx context.Context, name string, id app.InstanceID, revision uint64) error {
	return f.wait(ctx, func() bool { return f.inFlight[id] == 0 && f.counters[name] >= revision })
}

func (f *fakeProxies) IdleSince(string) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.idle, !f.busy
}

func (f *fakeProxies) Requests(id app.InstanceID) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[id]
}

func (f *fakeProxies) Ended(id app.InstanceID) {
	f.update(func() { delete(f.requests, id) })
}

func (f *fakeProxies) InFlight(_ string, id app.InstanceID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inFlight[id]
}

// ready are the app's endpoints that take requests.
func (f *fakeProxies) ready(name string) []app.Endpoint {
	set, _ := f.Current(name)
	return slices.DeleteFunc(slices.Clone(set.Endpoints), func(e app.Endpoint) bool { return e.Draining })
}
