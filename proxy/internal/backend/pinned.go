package backend

// Pinned is a private connection between two exchanges of the one client that it
// belongs to. It is no exchange in flight, and is closed once its endpoint takes
// no more requests.
type Pinned struct {
	pool     *Pool
	endpoint *endpoint
	conn     *Conn
}

// Pin has c, which has nothing pending, wait for its client's next exchange,
// beyond the end of the claim. It is closed if the endpoint takes no more requests.
func (l *Lease) Pin(c *Conn) Pinned {
	e := l.endpoint
	c.Private, c.Reused = true, true
	l.pool.mu.Lock()
	leaving := e.Draining
	if !leaving {
		if e.pinned == nil {
			e.pinned = map[*Conn]struct{}{}
		}
		e.pinned[c] = struct{}{}
	}
	l.pool.mu.Unlock()
	if leaving {
		c.Close()
	}
	return Pinned{l.pool, e, c}
}

// Pool is the app that the connection leads to.
func (p Pinned) Pool() *Pool { return p.pool }

// Claim claims the connection and its endpoint for an exchange. It reports false
// if the connection was closed.
func (p Pinned) Claim() (Lease, *Conn, bool) {
	p.pool.mu.Lock()
	defer p.pool.mu.Unlock()
	if !p.unpin() {
		return Lease{}, nil, false
	}
	return p.pool.lease(p.endpoint), p.conn, true
}

// Close closes the connection unless it was claimed.
func (p Pinned) Close() {
	p.pool.mu.Lock()
	waits := p.unpin()
	p.pool.mu.Unlock()
	if waits {
		p.conn.Close()
	}
}

// unpin reports whether the connection was waiting. The caller holds the lock.
func (p Pinned) unpin() bool {
	_, waits := p.endpoint.pinned[p.conn]
	delete(p.endpoint.pinned, p.conn)
	return waits
}
