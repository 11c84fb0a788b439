package backend

import (
	"slices"
	"strings"
	"sync"
)

// Registry has the pools of all apps. Sets are applied, and apps removed, by one
// goroutine at a time; everything else may be called by many.
type Registry struct {
	notify func(app string)

	mu      sync.Mutex // guards what follows
	pools   map[string]*Pool
	leaving []*Pool // removed, maybe with open exchanges
}

// NewRegistry returns an empty registry. notify is called, outside all locks,
// when the daemon should hear of an app's load at once: a set was applied, or
// the last exchange of a draining or dropped endpoint has ended. It must not
// block.
func NewRegistry(notify func(app string)) *Registry {
	return &Registry{notify: notify, pools: map[string]*Pool{}}
}

// Replace makes sets all that there is, whatever their epochs: the first
// complete snapshot of a stream. Instances that stay keep their connections
// and open exchanges. lead is called when all pools are there and none is gone
// yet: it has requests led to the new ones.
func (r *Registry) Replace(sets []Set, lead func()) {
	keep := make(map[string]bool, len(sets))
	for i := range sets {
		keep[sets[i].App] = true
		r.pool(sets[i].App).apply(&sets[i])
	}
	lead()
	r.mu.Lock()
	var gone []*Pool
	for app, p := range r.pools {
		if !keep[app] {
			gone = append(gone, p)
		}
	}
	r.mu.Unlock()
	r.end(gone...)
}

// Apply takes over a newer set of an app: of the epoch that the app's pool
// has and with a higher revision. It reports whether it did. A set of an
// unknown app makes its pool.
func (r *Registry) Apply(set Set) bool {
	return r.pool(set.App).applyNewer(&set)
}

// Remove ends an app's pool if it is of this epoch. Its open exchanges go on
// and stay in Loads until they have ended.
func (r *Registry) Remove(app string, epoch uint64) {
	if p := r.Get(app); p != nil && p.Epoch() == epoch {
		r.end(p)
	}
}

// end removes pools. A pool is emptied before it is forgotten: what Loads does
// not name has nothing open and is never picked again.
func (r *Registry) end(gone ...*Pool) {
	for _, p := range gone {
		p.remove()
	}
	r.mu.Lock()
	for _, p := range gone {
		delete(r.pools, p.name)
	}
	r.leaving = append(r.leaving, gone...)
	r.mu.Unlock()
	for _, p := range gone {
		r.notify(p.name)
	}
}

// Get returns the pool of an app, nil if it is unknown. The pointer stays the
// same as long as the app exists.
func (r *Registry) Get(app string) *Pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pools[app]
}

// Loads returns the load of all apps, by name; removed ones as long as they
// have open exchanges.
func (r *Registry) Loads() []Load {
	r.mu.Lock()
	pools := make([]*Pool, 0, len(r.pools)+len(r.leaving))
	for _, p := range r.pools {
		pools = append(pools, p)
	}
	r.leaving = slices.DeleteFunc(r.leaving, (*Pool).empty)
	pools = append(pools, r.leaving...)
	r.mu.Unlock()

	loads := make([]Load, len(pools))
	for i, p := range pools {
		loads[i] = p.Load()
	}
	slices.SortStableFunc(loads, func(a, b Load) int { return strings.Compare(a.App, b.App) })
	return loads
}

func (r *Registry) pool(app string) *Pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pools[app]
	if p == nil {
		p = newPool(app, r.notify)
		r.pools[app] = p
	}
	return p
}
