package endpoint

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// WaitApplied returns nil once every known proxy has the app's revision or a
// newer one, or has the app's removal where it is removed. A proxy that is away
// is waited for until its process is gone or it has been away for the app's
// stop.drain.
func (r *Registry) WaitApplied(ctx context.Context, name string, revision uint64) error {
	return r.wait(ctx, name, func(l load, has, removed bool) bool {
		return removed && !has || has && r.applied(l, revision)
	})
}

// WaitDrained returns nil once every known proxy has the app's revision and
// nothing in flight at the instance. Proxies that are away count as in
// WaitApplied.
func (r *Registry) WaitDrained(ctx context.Context, name string, id app.InstanceID, revision uint64) error {
	return r.wait(ctx, name, func(l load, has, removed bool) bool {
		if !has {
			return removed
		}
		return l.instances[id].InFlight == 0 && (removed || r.applied(l, revision))
	})
}

func (r *Registry) applied(l load, revision uint64) bool {
	return l.epoch == r.epoch && l.revision >= revision
}

// wait returns nil once holds is true for every proxy that counts. It is asked
// with the app's load there, whether there is one, and whether the app has no set
// any more.
func (r *Registry) wait(ctx context.Context, name string, holds func(l load, has, removed bool) bool) error {
	for {
		done, again, changed := r.check(name, holds)
		if done {
			return nil
		}
		var timeout <-chan time.Time
		if again > 0 {
			timeout = time.After(again)
		}
		select {
		case <-changed:
		case <-timeout:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// check asks holds of every proxy that counts for an app. Where one says no, it
// returns when time alone will change that, and what is closed at the next change.
func (r *Registry) check(name string, holds func(l load, has, removed bool) bool) (done bool, again time.Duration, changed <-chan struct{}) {
	_, published := r.sets.Get(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	done = true
	for _, p := range r.proxies {
		left, counts := r.counts(p, name)
		if !counts {
			continue
		}
		// Until a proxy has told its complete load, what it does not name is unknown.
		l, has := p.apps[name]
		if p.told && holds(l, has, !published) {
			continue
		}
		done = false
		if p.session == nil && (again == 0 || left < again) {
			again = left
		}
	}
	return done, again, r.changed
}

// counts tells whether a proxy is to be waited for, and, of one that is away, for
// how much longer. r.mu is held.
func (r *Registry) counts(p *proxy, name string) (left time.Duration, counts bool) {
	if p.session != nil {
		return 0, true
	}
	left = r.counters[name].drain - time.Since(p.away)
	return left, left > 0
}

// IdleSince tells since when no request of the app has been in flight or waiting
// at any proxy; false while one is, or while a known proxy is not connected.
func (r *Registry) IdleSince(name string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.allConnected
	if last := r.active[name]; last.After(since) {
		since = last
	}
	for _, p := range r.proxies {
		_, counts := r.counts(p, name)
		switch {
		case !counts: // and did until then
			if end := p.away.Add(r.counters[name].drain); end.After(since) {
				since = end
			}
		case p.session == nil || !p.told || p.apps[name].inFlight > 0:
			return time.Time{}, false
		}
	}
	return since, true
}

// InFlight sums the requests that the proxies report at an instance.
func (r *Registry) InFlight(name string, id app.InstanceID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, p := range r.proxies {
		n += p.apps[name].instances[id].InFlight
	}
	return n
}
