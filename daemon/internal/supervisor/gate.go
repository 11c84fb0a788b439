package supervisor

import (
	"slices"
	"sync"
)

// gate bounds how many starts run at once, over all apps. Starts that somebody
// waits for go before those that a boot asked for.
type gate struct {
	mu      sync.Mutex
	free    int
	waiting []*turn // urgent ones first, each kind in its order of arrival
}

// turn is one start's place at the gate.
type turn struct {
	come   chan struct{} // closed when it may start
	urgent bool
	held   bool
	left   bool
}

func newGate(parallel int) *gate { return &gate{free: max(parallel, 1)} }

// enter asks for a turn. Leave must be called with it.
func (g *gate) enter(urgent bool) *turn {
	t := &turn{come: make(chan struct{}), urgent: urgent}
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		t.held = true
	} else {
		g.queue(t)
	}
	held := t.held
	g.mu.Unlock()
	if held {
		close(t.come)
	}
	return t
}

// queue puts t where it belongs. g.mu is held.
func (g *gate) queue(t *turn) {
	i := len(g.waiting)
	if t.urgent {
		if first := slices.IndexFunc(g.waiting, func(o *turn) bool { return !o.urgent }); first >= 0 {
			i = first
		}
	}
	g.waiting = slices.Insert(g.waiting, i, t)
}

// hurry makes a waiting turn urgent.
func (g *gate) hurry(t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, t)
	if i < 0 || t.urgent {
		return
	}
	t.urgent = true
	g.waiting = slices.Delete(g.waiting, i, i+1)
	g.queue(t)
}

// leave gives the turn back, whether it has come or not. More than once is once.
func (g *gate) leave(t *turn) {
	g.mu.Lock()
	var next *turn
	switch {
	case t.left:
	case !t.held:
		g.waiting = slices.DeleteFunc(g.waiting, func(o *turn) bool { return o == t })
	case len(g.waiting) > 0:
		next, g.waiting = g.waiting[0], g.waiting[1:]
		next.held = true
	default:
		g.free++
	}
	t.left = true
	g.mu.Unlock()
	if next != nil {
		close(next.come)
	}
}
