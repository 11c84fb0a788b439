package backend

import "slices"

// Ready reports whether Acquire would find an endpoint now, without claiming it.
func (p *Pool) Ready(avoid []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.current, func(e *endpoint) bool {
		return !e.Draining && !slices.Contains(avoid, e.Instance)
	})
}
