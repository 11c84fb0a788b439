package discovery

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// gate is open or shut, and can be waited at. Its zero value must be shut first.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
	isOpen bool
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen {
		g.isOpen = true
		close(g.opened)
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen || g.opened == nil {
		g.isOpen = false
		g.opened = make(chan struct{})
	}
}

// wait returns a channel that is closed while the gate is open.
func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

// pauses yields the time to wait before each attempt. Its zero value begins anew.
type pauses struct{ last time.Duration }

// next grows to maxPause, with up to half as much again by chance, so that two
// loops do not go in step.
func (p *pauses) next() time.Duration {
	p.last = min(max(2*p.last, minPause), maxPause)
	return p.last + rand.N(p.last/2)
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
