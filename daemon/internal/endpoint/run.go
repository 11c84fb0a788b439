package endpoint

import (
	"context"
	"sync"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	// leastAway is for how long a proxy that is away is remembered at the least:
	// stop.drain's default.
	leastAway = 30 * time.Second
	// saveAgain is when a failed write to the store is tried again.
	saveAgain = 5 * time.Second
)

// Run keeps the store's list of proxies, and forgets proxies that are away once
// their process is gone or no app waits for them any more. It returns when ctx
// ends, with what the store does not know yet written.
func (r *Registry) Run(ctx context.Context) error {
	var watchers sync.WaitGroup
	defer watchers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	watched := map[absence]context.CancelFunc{}
	saved := true
	for {
		err := r.save()
		if err != nil && saved { // once, not every few seconds
			r.log.Warn("the list of known proxies could not be saved", "error", err)
		}
		saved = err == nil
		again := r.expire()
		if !saved {
			again = saveAgain
		}
		r.watchAway(ctx, &watchers, watched)
		var timeout <-chan time.Time
		if again > 0 {
			timeout = time.After(again)
		}
		select {
		case <-r.wake:
		case <-timeout:
		case <-ctx.Done():
			return r.save()
		}
	}
}

// save writes what changed.
func (r *Registry) save() error {
	r.mu.Lock()
	unsaved := r.unsaved
	r.unsaved = map[string]bool{}
	var put []app.Proxy
	var remove []string
	for id := range unsaved {
		if p, ok := r.proxies[id]; ok {
			put = append(put, p.Proxy)
		} else {
			remove = append(remove, id)
		}
	}
	r.mu.Unlock()
	if len(unsaved) == 0 {
		return nil
	}
	err := r.store.SaveProxies(put, remove)
	if err != nil {
		r.mu.Lock()
		for id := range unsaved {
			r.unsaved[id] = true
		}
		r.mu.Unlock()
	}
	return err
}

// absence is one time that a proxy is away.
type absence struct {
	proxy *proxy
	since time.Time
}

// expire forgets the proxies that have been away for longer than any app waits,
// and returns when to look again, 0 for never.
func (r *Registry) expire() time.Duration {
	r.mu.Lock()
	longest := leastAway
	for _, c := range r.counters {
		longest = max(longest, c.drain)
	}
	r.mu.Unlock()

	var again time.Duration
	for a := range r.absent() {
		if left := longest - time.Since(a.since); left <= 0 {
			r.forget(a, "it was away for too long")
		} else if again == 0 || left < again {
			again = left
		}
	}
	return again
}

// absent returns the proxies that are away, with their processes.
func (r *Registry) absent() map[absence]app.Proxy {
	r.mu.Lock()
	defer r.mu.Unlock()
	absent := map[absence]app.Proxy{}
	for _, p := range r.proxies {
		if p.session == nil {
			absent[absence{p, p.away}] = p.Proxy
		}
	}
	return absent
}

// watchAway makes watched the watchers of exactly the proxies that are away and
// have a process that can be seen.
func (r *Registry) watchAway(ctx context.Context, watchers *sync.WaitGroup, watched map[absence]context.CancelFunc) {
	absent := r.absent()
	for a, cancel := range watched {
		if _, still := absent[a]; !still {
			cancel()
			delete(watched, a)
		}
	}
	for a, p := range absent {
		if _, already := watched[a]; already || p.PID == 0 || p.StartTime == 0 {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		watched[a] = cancel
		watchers.Go(func() {
			if r.processes.Wait(ctx, p.PID, p.StartTime) == nil {
				r.forget(a, "its process is gone")
			}
		})
	}
}
