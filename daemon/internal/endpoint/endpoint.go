// Package endpoint hands the apps' endpoint sets to the proxies and keeps what
// the proxies tell of them: which revision each has applied, and what it has in
// flight. It decides nothing about instances.
package endpoint

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/watch"
)

// Sets are the endpoint sets by app.
type Sets = watch.Hub[string, app.EndpointSet]

// Store keeps the known proxies, for the next daemon.
type Store interface {
	Proxies() ([]app.Proxy, error)
	SaveProxies(put []app.Proxy, remove []string) error
}

// Recorder takes events.
type Recorder interface {
	Record(e app.Event)
}

// Registry holds every app's newest set and every known proxy.
type Registry struct {
	epoch     uint64
	sets      *Sets
	store     Store
	recorder  Recorder
	processes Processes
	log       hclog.Logger
	synced    chan struct{}
	syncOnce  sync.Once
	wake      chan struct{} // holds one: Run has something to look at

	mu           sync.Mutex
	counters     map[string]counter   // of every app that ever had a set in this epoch
	active       map[string]time.Time // when an app's last request was seen
	proxies      map[string]*proxy
	served       map[app.InstanceID]*served
	allConnected time.Time       // since when no known proxy has been away
	unsaved      map[string]bool // ids of proxies that the store knows otherwise
	changed      chan struct{}   // closed at each change, and renewed
}

// counter is what outlives an app's set.
type counter struct {
	revision uint64
	drain    time.Duration
}

// New returns a registry for the daemon's start number epoch, with the proxies
// that earlier daemons knew. They count as away since now.
func New(epoch uint64, store Store, recorder Recorder, processes Processes, log hclog.Logger) (*Registry, error) {
	known, err := store.Proxies()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r := &Registry{
		epoch: epoch, sets: watch.NewHub[string, app.EndpointSet](),
		store: store, recorder: recorder, processes: processes, log: log,
		synced: make(chan struct{}), wake: make(chan struct{}, 1),
		counters: map[string]counter{}, active: map[string]time.Time{},
		proxies: map[string]*proxy{}, served: map[app.InstanceID]*served{}, allConnected: now,
		unsaved: map[string]bool{}, changed: make(chan struct{}),
	}
	for _, p := range known {
		r.proxies[p.ID] = &proxy{Proxy: p, away: now, apps: map[string]load{}}
	}
	return r, nil
}

// Epoch is the number of the daemon's start, of all sets.
func (r *Registry) Epoch() uint64 { return r.epoch }

// Sets is what the proxies watch, once Ready is closed.
func (r *Registry) Sets() *Sets { return r.sets }

// Ready is closed once everything has been published.
func (r *Registry) Ready() <-chan struct{} { return r.synced }

// Synced opens the stream to proxies: everything has been published once.
func (r *Registry) Synced() { r.syncOnce.Do(func() { close(r.synced) }) }

// Publish makes set the app's newest and returns its revision. Only one
// goroutine at a time may publish or remove the same app.
func (r *Registry) Publish(set app.EndpointSet) uint64 {
	r.mu.Lock()
	c := r.counters[set.App]
	c.revision++
	c.drain = set.Drain
	r.counters[set.App] = c
	for _, e := range set.Endpoints {
		if r.served[e.Instance] == nil {
			r.served[e.Instance] = &served{last: map[string]uint64{}}
		}
	}
	r.mu.Unlock()

	set.Epoch, set.Revision = r.epoch, c.revision
	r.sets.Set(set.App, set)
	return c.revision
}

// Remove forgets an app's set. Its revisions go on if it comes back: a proxy
// that missed the removal must take the new set for newer.
func (r *Registry) Remove(name string) {
	r.sets.Delete(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.active, name)
	r.touch()
}

// Current returns the app's newest set.
func (r *Registry) Current(name string) (app.EndpointSet, bool) { return r.sets.Get(name) }

// touch wakes whoever waits for proxies. r.mu is held.
func (r *Registry) touch() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// look makes Run look again.
func (r *Registry) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
