package endpoint

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// proxy is a known proxy: from its first hello until it says goodbye, its
// process is gone, or it was away for too long.
type proxy struct {
	app.Proxy
	session *Session  // nil while it is away
	told    bool      // its complete load is known, of its last session at least
	away    time.Time // since when, while session is nil
	apps    map[string]load
}

// load is what a proxy told last of an app.
type load struct {
	epoch, revision uint64
	inFlight        int // queued ones included
	requests        uint64
	instances       map[app.InstanceID]InstanceLoad
}

// Load is what a proxy tells.
type Load struct {
	Apps []AppLoad
	// Complete is set where apps that are not named have no load.
	Complete bool
	// Removed apps are gone from the proxy with nothing in flight.
	Removed []string
}

// AppLoad is one app's load at one proxy, and the set it has applied.
type AppLoad struct {
	App             string
	Epoch, Revision uint64
	InFlight        int
	Queued          int
	Requests        uint64 // since the proxy's start
	Instances       map[app.InstanceID]InstanceLoad
}

// InstanceLoad is one instance's share of a load.
type InstanceLoad struct {
	InFlight int
	Requests uint64 // since the proxy knows it; a lower count than the last began anew
}

// Session is the life of one report stream.
type Session struct {
	registry *Registry
	id       string
}

// Connect registers a proxy whose hello has come. Of two sessions of one proxy
// the newer counts. Close must be called.
func (r *Registry) Connect(p app.Proxy) *Session {
	p.StartTime = r.processes.StartTime(p.PID) // 0: not to be seen from here
	p.LastSeen, p.Connected = time.Now(), false
	s := &Session{registry: r, id: p.ID}

	r.mu.Lock()
	known, ok := r.proxies[p.ID]
	if !ok {
		known = &proxy{}
		r.proxies[p.ID] = known
	}
	if known.PID != p.PID || known.StartTime != p.StartTime {
		r.uncount(p.ID) // another process, which counts from zero
	}
	known.Proxy, known.session, known.told = p, s, false
	if known.apps == nil {
		known.apps = map[string]load{}
	}
	r.unsaved[p.ID] = true
	r.touch()
	r.mu.Unlock()

	r.look()
	r.recorder.Record(app.Event{
		ID: app.EventProxyConnected, Severity: app.Info, Message: "proxy connected",
		Attributes: map[string]string{"proxy": p.ID, "version": p.Version},
	})
	return s
}

// Load takes what the proxy has to do now.
func (s *Session) Load(l Load) {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.current(s)
	if p == nil {
		return
	}
	now := time.Now()
	for _, a := range l.Apps {
		r.take(p, a, now)
	}
	for _, name := range l.Removed {
		r.drop(p, name, now)
	}
	if l.Complete {
		named := map[string]bool{}
		for _, a := range l.Apps {
			named[a.App] = true
		}
		for name := range p.apps {
			if !named[name] {
				r.drop(p, name, now)
			}
		}
		p.told = true
		r.allConnected = now
	}
	r.touch()
}

// take notes one app's load at a proxy. r.mu is held.
func (r *Registry) take(p *proxy, a AppLoad, now time.Time) {
	before := p.apps[a.App]
	after := load{
		epoch: a.Epoch, revision: a.Revision, inFlight: a.InFlight + a.Queued,
		requests: a.Requests, instances: maps.Clone(a.Instances),
	}
	// Requests that came and went between two loads only show in the count.
	if before.inFlight > 0 || after.inFlight > 0 || after.requests != before.requests {
		r.active[a.App] = now
	}
	p.apps[a.App] = after
	r.count(p.ID, a.Instances)
}

// drop notes that a proxy has nothing of an app. r.mu is held.
func (r *Registry) drop(p *proxy, name string, now time.Time) {
	if p.apps[name].inFlight > 0 {
		r.active[name] = now
	}
	delete(p.apps, name)
}

// Goodbye forgets the proxy: it is leaving.
func (s *Session) Goodbye() {
	r := s.registry
	r.mu.Lock()
	p := r.current(s)
	if p != nil {
		r.remove(p)
	}
	r.mu.Unlock()
	if p != nil {
		r.gone(p, "it said goodbye")
	}
}

// Close ends the session. A proxy that has not said goodbye is away from now on.
func (s *Session) Close() {
	r := s.registry
	r.mu.Lock()
	if p := r.current(s); p != nil {
		p.session, p.away = nil, time.Now()
		p.LastSeen = p.away
		r.unsaved[p.ID] = true
		r.touch()
	}
	r.mu.Unlock()
	r.look()
}

// current returns the proxy of a session that still counts. r.mu is held.
func (r *Registry) current(s *Session) *proxy {
	if p := r.proxies[s.id]; p != nil && p.session == s {
		return p
	}
	return nil
}

// forget drops a proxy whose absence has not ended.
func (r *Registry) forget(a absence, why string) {
	p := a.proxy
	r.mu.Lock()
	absent := r.proxies[p.ID] == p && p.session == nil && p.away.Equal(a.since)
	if absent {
		r.remove(p)
	}
	r.mu.Unlock()
	if absent {
		r.gone(p, why)
	}
}

// remove drops a proxy. r.mu is held.
func (r *Registry) remove(p *proxy) {
	delete(r.proxies, p.ID)
	now := time.Now()
	for name, l := range p.apps {
		if l.inFlight > 0 {
			r.active[name] = now
		}
	}
	r.allConnected = now
	r.unsaved[p.ID] = true
	r.touch()
}

// gone tells of a proxy that was removed; nobody else changes it any more.
func (r *Registry) gone(p *proxy, why string) {
	r.look()
	r.recorder.Record(app.Event{
		ID: app.EventProxyGone, Severity: app.Info, Message: "proxy gone: " + why,
		Attributes: map[string]string{"proxy": p.ID},
	})
}

// Proxies returns every known proxy, by id.
func (r *Registry) Proxies() []app.Proxy {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]app.Proxy, 0, len(r.proxies))
	for _, p := range r.proxies {
		known := p.Proxy
		known.Connected = p.session != nil
		list = append(list, known)
	}
	slices.SortFunc(list, func(a, b app.Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
