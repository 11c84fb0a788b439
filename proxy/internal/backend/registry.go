package backend

import (
	"slices"
	"sync"
)

// Registry has the pools of all apps.
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
// and open exchanges.
func (r *Registry) Replace(sets []Set) {
	keep := make(map[string]bool, len(sets))
	for i := range sets {
		keep[sets[i].App] = true
		r.pool(sets[i].App).apply(&sets[i])
	}
	r.mu.Lock()
	var gone []*Pool
	for app, p := range r.pools {
		if !keep[app] {
			gone = append(gone, p)
			delete(r.pools, app)
		}
	}
	r.retire(gone...)
	r.mu.Unlock()
	for _, p := range gone {
		p.remove()
	}
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
	r.mu.Lock()
	p := r.pools[app]
	if p == nil || p.Epoch() != epoch {
		r.mu.Unlock()
		return
	}
	delete(r.pools, app)
	r.retire(p)
	r.mu.Unlock()
	p.remove()
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
	r.retire()
	pools = append(pools, r.leaving...)
	r.mu.Unlock()

	loads := make([]Load, len(pools))
	for i, p := range pools {
		loads[i] = p.Load()
	}
	slices.SortStableFunc(loads, func(a, b Load) int {
		switch {
		case a.App < b.App:
			return -1
		case a.App > b.App:
			return 1
		}
		return 0
	})
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

// retire adds removed pools and forgets those that have nothing open.
func (r *Registry) retire(gone ...*Pool) {
	r.leaving = slices.DeleteFunc(r.leaving, (*Pool).empty)
	r.leaving = append(r.leaving, gone...)
}
