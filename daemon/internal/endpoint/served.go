package endpoint

import "github.com/roostd/roost/daemon/internal/app"

// served is how many requests an instance has got. What a proxy has counted stays
// counted when it starts anew or is gone.
type served struct {
	total uint64
	last  map[string]uint64 // by proxy
}

// count adds what a proxy has led to instances since it last told. r.mu is held.
func (r *Registry) count(proxy string, instances map[app.InstanceID]InstanceLoad) {
	for id, l := range instances {
		s := r.served[id]
		if s == nil {
			continue // it has ended, or is not published yet: the next count has all
		}
		since := s.last[proxy]
		if l.Requests < since {
			since = 0
		}
		s.total += l.Requests - since
		s.last[proxy] = l.Requests
	}
}

// uncount forgets what a proxy counted last: it begins anew. r.mu is held.
func (r *Registry) uncount(proxy string) {
	for _, s := range r.served {
		delete(s.last, proxy)
	}
}

// Requests tells how many requests the proxies have led to an instance, as far as
// they have told this daemon.
func (r *Registry) Requests(id app.InstanceID) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.served[id]; s != nil {
		return s.total
	}
	return 0
}

// Ended forgets an instance of which nothing is left.
func (r *Registry) Ended(id app.InstanceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.served, id)
}
