// Package forward carries requests from clients to apps: it owns the exchange,
// from the first byte of a request to the access log line.
//
// A goroutine per connection runs straight through an exchange: read the
// client, write the app, read the app, write the client, without handing
// anything to another goroutine. Only what goes both ways at once, an upload
// that does not arrive in one piece and an upgraded connection, gets a second
// one. All parsing and framing is state over buffers in package http1.
package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/route"
)

// Waiter waits until a pool has an endpoint that is worth a try. failed names
// the instances that the request has tried in vain. A nil error means acquire
// again; otherwise it is an *activator.Failure, or ctx's error.
type Waiter interface {
	Wait(ctx context.Context, p *backend.Pool, failed []string) error
}

// Observer learns of every exchange.
type Observer interface {
	// Exchange is called at the end of each. r is valid only during the
	// call, which many connections make at once; it must not block.
	Exchange(r *Record)
}

// Config is what a Server needs. Routes and Waiter are required.
type Config struct {
	// Routes is the current table; lookups take whatever is there.
	Routes *atomic.Pointer[route.Table[*backend.Pool]]
	Waiter Waiter
	// Blind may be nil. It reports that the routes are empty because nobody has
	// told them yet.
	Blind func() bool
	// Observer may be nil.
	Observer Observer
	// Failed may be nil. It is told of every request that an instance, and not
	// only an old connection to it, failed before it answered, and must not block.
	Failed func(app, instance string, err error)
	// TrustedProxies are the peers whose forwarding fields are believed.
	TrustedProxies []netip.Prefix
	// HTTPSPort is where requests in clear text are redirected to; "" is the
	// scheme's own.
	HTTPSPort string
	// DrainTimeout bounds how long open exchanges may go on once Serve's
	// context has ended.
	DrainTimeout time.Duration
	// Warn takes a message and pairs of key and value; it may be nil.
	Warn func(msg string, kv ...any)
	// Debug is Warn for what any client can cause at will.
	Debug func(msg string, kv ...any)
	// Limits are the times that a client has.
	Limits Limits
}

// Server serves HTTP/1.1, over TLS or in clear text, on any number of listeners.
type Server struct {
	cfg      Config
	base     time.Time
	draining atomic.Bool
	spoofers spoofers
}

// NewServer returns a server that serves nothing yet.
func NewServer(cfg Config) *Server {
	cfg.Limits.defaults()
	if cfg.Warn == nil {
		cfg.Warn = func(string, ...any) {}
	}
	if cfg.Debug == nil {
		cfg.Debug = func(string, ...any) {}
	}
	return &Server{cfg: cfg, base: time.Now()}
}

// now is the time since the server was made, by the monotonic clock.
func (s *Server) now() time.Duration { return time.Since(s.base) }

func (s *Server) ms() int64 { return s.now().Milliseconds() }

func (s *Server) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// cutGrace is how long what is left after the drain has to end by itself: to
// write its 503 or its close frame.
const cutGrace = 2 * time.Second

// group is a listener with its connections.
type group struct {
	sweep *sweeper
	port  string
	tls   *tls.Config // nil: in clear text
	conns sync.WaitGroup
}

// Serve accepts connections on l until ctx ends. Then it closes l and all
// idle connections and lets open exchanges finish, with "Connection: close".
// What has not ended after DrainTimeout is answered 503 if no answer has begun,
// and cut otherwise; WebSockets get a close frame. Serve returns when all goroutines that it
// started have ended: nil after ctx, else the listener's error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, nil)
}

// ServeTLS is Serve for connections over TLS.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener, config *tls.Config) error {
	return s.serve(ctx, l, config)
}

func (s *Server) serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	g := &group{sweep: newSweeper(&s.cfg.Limits, s.ms), tls: config}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		g.port = strconv.Itoa(a.Port)
	}
	stop := make(chan struct{})
	var sweeping sync.WaitGroup
	sweeping.Go(func() { g.sweep.run(stop) })
	defer sweeping.Wait()
	defer close(stop)

	closing := context.AfterFunc(ctx, func() {
		s.draining.Store(true) // before anybody can see that nothing is accepted any more
		l.Close()
	})
	defer closing()
	err := s.accept(ctx, l, g)
	l.Close()
	s.drain(g)
	return err
}

func (s *Server) accept(ctx context.Context, l net.Listener, g *group) error {
	const maxDelay = time.Second
	delay := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// Out of descriptors, or the client was faster: both pass.
			s.cfg.Warn("accept failed", "address", l.Addr(), "error", err, "retry_in", delay)
			select {
			case <-time.After(delay):
			case <-ctx.Done():
			}
			delay = min(2*delay, maxDelay)
			continue
		}
		delay = 5 * time.Millisecond
		c := s.newConn(g, nc)
		g.sweep.busy()
		g.conns.Go(c.serve)
	}
}

// drain ends the connections of g.
func (s *Server) drain(g *group) {
	s.draining.Store(true)
	g.sweep.all(func(sl *slot, c *conn) {
		if w := sl.word.Load(); isIdle(w) {
			c.take(w, causeShutdown)
		}
		c.drainTunnel(false)
	})
	ended := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		g.conns.Wait()
		close(ended)
	})
	defer waiting.Wait()
	if within(ended, s.cfg.DrainTimeout) {
		return
	}
	g.sweep.all(func(_ *slot, c *conn) {
		if !c.drainTunnel(true) {
			c.interrupt(causeShutdown)
		}
	})
	if within(ended, cutGrace) {
		return
	}
	for !within(ended, fastTick) {
		g.sweep.all(func(_ *slot, c *conn) { c.kill() })
	}
}

func isIdle(w uint64) bool {
	p, _ := unpack(w)
	return p == phaseHandshake || p == phaseNew || p == phaseIdle || p == phaseLinger
}

func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// kill ends the connection whatever it does.
func (c *conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sock.deadline(past)
	if c.peer != nil {
		c.peer.deadline(past)
	}
	if c.cancel != nil {
		c.cancel()
	}
}

// spoofers remembers which peers were found to send forwarding fields that
// they are not trusted with, so that each is logged once.
type spoofers struct {
	mu   sync.Mutex
	seen map[netip.Addr]struct{}
}

// maxSpoofers bounds the memory; past it, peers may be logged again.
const maxSpoofers = 4096

func (s *spoofers) first(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[a]; ok {
		return false
	}
	if s.seen == nil || len(s.seen) >= maxSpoofers {
		s.seen = map[netip.Addr]struct{}{}
	}
	s.seen[a] = struct{}{}
	return true
}
