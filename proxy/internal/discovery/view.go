package discovery

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/route"
)

// app is all that is known of one app.
type app struct {
	Set    backend.Set
	Routes []route.Rule
}

// view is what the proxy knows, whoever said it: the watch, an answer to
// Activate, or the snapshot on disk.
type view struct {
	registry *backend.Registry
	routes   Routes
	changed  func()      // told of every change; must not block
	told     atomic.Bool // replace was called

	mu    sync.Mutex
	epoch uint64
	apps  map[string]app
}

func newView(r *backend.Registry) *view {
	v := &view{registry: r, changed: func() {}, apps: map[string]app{}}
	v.routes.Store(route.New[*backend.Pool](nil))
	return v
}

// replace makes apps all that there is.
func (v *view) replace(epoch uint64, apps []app) {
	sets := make([]backend.Set, len(apps))
	known := make(map[string]app, len(apps))
	for i, a := range apps {
		a.Set.Epoch = epoch
		sets[i] = a.Set
		known[a.Set.App] = a
	}
	v.mu.Lock()
	v.epoch, v.apps = epoch, known
	v.registry.Replace(sets, v.publish)
	v.told.Store(true)
	v.mu.Unlock()
	v.changed()
}

// apply takes over a newer set of an app. It reports false where the set is of
// another epoch.
func (v *view) apply(a app) bool {
	v.mu.Lock()
	ok := v.epoch == a.Set.Epoch
	applied := ok && v.applyLocked(a)
	v.mu.Unlock()
	if applied {
		v.changed()
	}
	return ok
}

// answer is apply for a set that was asked for. Its app may be gone by now, and
// an answer does not bring it back.
func (v *view) answer(a app) bool {
	v.mu.Lock()
	ok := v.epoch == a.Set.Epoch
	_, known := v.apps[a.Set.App]
	applied := ok && known && v.applyLocked(a)
	v.mu.Unlock()
	if applied {
		v.changed()
	}
	return ok
}

func (v *view) applyLocked(a app) bool {
	if !v.registry.Apply(a.Set) {
		return false
	}
	old, known := v.apps[a.Set.App]
	v.apps[a.Set.App] = a
	if !known || !slices.Equal(old.Routes, a.Routes) {
		v.publish()
	}
	return true
}

// remove forgets apps. Their routes go first, so that no new request finds a
// pool that is gone.
func (v *view) remove(names []string) {
	if len(names) == 0 {
		return
	}
	v.mu.Lock()
	for _, name := range names {
		delete(v.apps, name)
	}
	v.publish()
	for _, name := range names {
		v.registry.Remove(name, v.epoch)
	}
	v.mu.Unlock()
	v.changed()
}

// loads returns the load of all apps. A revision that it shows has its routes in
// the table already: the daemon, and who waits for it, counts on them from then on.
func (v *view) loads() []backend.Load {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.registry.Loads()
}

// publish makes the table of routes anew. The caller holds mu.
func (v *view) publish() {
	var entries []route.Entry[*backend.Pool]
	for _, a := range v.sorted() {
		pool := v.registry.Get(a.Set.App)
		for _, r := range a.Routes {
			entries = append(entries, route.Entry[*backend.Pool]{Rule: r, Target: pool})
		}
	}
	v.routes.Store(route.New(entries))
}

// export returns a copy of what is known, by name.
func (v *view) export() (epoch uint64, apps []app) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.epoch, v.sorted()
}

// sorted returns the apps by name: of two with the same route, against the
// daemon's rules, the same one always wins. The caller holds mu.
func (v *view) sorted() []app {
	apps := make([]app, 0, len(v.apps))
	for _, a := range v.apps {
		apps = append(apps, a)
	}
	slices.SortFunc(apps, func(a, b app) int { return strings.Compare(a.Set.App, b.Set.App) })
	return apps
}

// currentEpoch is that of the daemon that was last synced with.
func (v *view) currentEpoch() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.epoch
}

func countEndpoints(apps []app) int {
	n := 0
	for _, a := range apps {
		n += len(a.Set.Endpoints)
	}
	return n
}
