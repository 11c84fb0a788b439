package supervisor

import (
	"math/rand/v2"
	"sync"
	"time"
)

// portRest is how long a released port is left alone while another is free:
// connections of the app that had it may still be about.
const portRest = 10 * time.Minute

// portPool gives out the dynamic ports of a range, going round from a random
// start. It knows nothing of strangers on a port.
type portPool struct {
	low, high int

	mu       sync.Mutex
	next     int
	used     map[int]bool
	fixed    map[int]bool // of some app's listen.port, never given out
	released map[int]time.Time
}

func newPortPool(low, high int) *portPool {
	return &portPool{
		low: low, high: high, next: low + rand.IntN(high-low+1),
		used: map[int]bool{}, fixed: map[int]bool{}, released: map[int]time.Time{},
	}
}

// take returns a port, and false where every one is in use.
func (p *portPool) take(now time.Time) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rested := 0 // the one that was released first
	for range p.high - p.low + 1 {
		port := p.next
		if p.next++; p.next > p.high {
			p.next = p.low
		}
		if p.used[port] || p.fixed[port] {
			continue
		}
		at, resting := p.released[port]
		if !resting || now.Sub(at) >= portRest {
			p.use(port)
			return port, true
		}
		if rested == 0 || at.Before(p.released[rested]) {
			rested = port
		}
	}
	if rested == 0 {
		return 0, false
	}
	p.use(rested)
	return rested, true
}

// use marks a port as taken. p.mu is held.
func (p *portPool) use(port int) {
	p.used[port] = true
	delete(p.released, port)
}

// adopt marks the port of a recovered instance as taken.
func (p *portPool) adopt(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.use(port)
}

// release gives a port back, to rest. Ports that were not taken are no matter.
func (p *portPool) release(port int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[port] {
		delete(p.used, port)
		p.released[port] = now
	}
}

// setFixed names the ports that apps have for themselves.
func (p *portPool) setFixed(ports map[int]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fixed = ports
}
