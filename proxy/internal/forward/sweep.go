package forward

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Timeouts are kept by one goroutine that looks at all connections now and
// then. A connection only notes in a word what it waits for and since when:
// two stores an exchange instead of timers that are set and stopped for each.
// The same look finds the clients that left while an app was being waited for.

// phase is what a connection waits for.
type phase uint8

const (
	phaseNone        phase = iota
	phaseHandshake         // the client's part of a TLS handshake
	phaseNew               // the first byte of the first request
	phaseIdle              // the first byte of another request
	phaseHead              // the rest of a request's head
	phaseClientRead        // a request's body that nobody wants any more
	phaseClientWrite       // the client to take bytes
	phaseHold              // an instance; the client is watched
	phaseApp               // the head of an answer; the client is watched
	phaseStream            // the rest of an answer; the client is watched
	phaseTunnel            // an upgraded connection
	phaseLinger            // the client to read the answer and close
	phaseTaken             // the sweep has interrupted the wait
)

// What the upload of an exchange waits for, where it has its own goroutine.
const (
	upNone  phase = iota
	upRead        // the client
	upWrite       // the app
)

const (
	fastTick = 40 * time.Millisecond // an exchange is open
	slowTick = time.Second           // only idle connections
	// calmTicks is how many fast ticks without an exchange make the sweep slow
	// down.
	calmTicks = 25
)

// Limits are the times that a client has. Zero fields get their defaults.
type Limits struct {
	// Handshake bounds the time from a connect to the end of the TLS handshake;
	// 10 s.
	Handshake time.Duration
	// Head bounds the time from the first byte of a head to its last, and
	// from a connect to the first head; 30 s.
	Head time.Duration
	// Idle bounds the time between two requests; 75 s.
	Idle time.Duration
	// Body bounds how long a client may send or take nothing; 60 s.
	Body time.Duration
	// Linger bounds how long a client may go on sending after an answer that
	// did not wait for its body; 5 s.
	Linger time.Duration
}

func (l *Limits) defaults() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&l.Handshake, 10 * time.Second}, {&l.Head, 30 * time.Second}, {&l.Idle, 75 * time.Second}, {&l.Body, 60 * time.Second}, {&l.Linger, 5 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
}

// word packs a phase and since when, in milliseconds of the server's clock.
func word(p phase, ms int64) uint64       { return uint64(p)<<56 | uint64(ms) }
func unpack(w uint64) (p phase, ms int64) { return phase(w >> 56), int64(w & (1<<56 - 1)) }

// verdict says what ends a wait at now, if anything does. timeout is what the
// app's silence may last in milliseconds, 0 for ever.
func (l *Limits) verdict(w, up uint64, timeout, now int64) cause {
	p, since := unpack(w)
	over := func(since int64, d time.Duration) bool { return now-since >= d.Milliseconds() }
	switch p {
	case phaseHandshake:
		return when(over(since, l.Handshake), causeSlow)
	case phaseIdle:
		return when(over(since, l.Idle), causeSlow)
	case phaseNew, phaseHead:
		return when(over(since, l.Head), causeSlow)
	case phaseClientRead, phaseClientWrite:
		return when(over(since, l.Body), causeSlow)
	case phaseLinger:
		return when(over(since, l.Linger), causeSlow)
	case phaseApp, phaseStream:
		upPhase, upSince := unpack(up)
		if p == phaseApp && upPhase == upRead {
			// The app cannot be expected to answer before it has the request.
			return when(over(upSince, l.Body), causeSlow)
		}
		since = max(since, upSince)
		return when(timeout > 0 && now-since >= timeout, causeSilent)
	}
	return causeNone
}

func when(b bool, c cause) cause {
	if b {
		return c
	}
	return causeNone
}

// watched reports whether a client that leaves should be noticed: an app is
// being waited for, and has been for a while. Answers that come at once are
// delivered to clients that only closed their sending half.
func watched(w uint64, now int64) bool {
	p, since := unpack(w)
	return (p == phaseHold || p == phaseApp || p == phaseStream) && now-since >= fastTick.Milliseconds()
}

// slot is a connection's place in the sweep. It has cache lines of its own.
type slot struct {
	word    atomic.Uint64
	up      atomic.Uint64
	timeout atomic.Int64
	conn    atomic.Pointer[conn]
	_       [128 - 32]byte
}

const slabSize = 64

// sweeper looks after the connections of one listener.
type sweeper struct {
	limits *Limits
	clock  func() int64
	poke   chan struct{}
	// fast says that the next tick is near, so that nobody need ask for it.
	fast atomic.Bool

	mu    sync.Mutex // guards what follows
	slabs []*[slabSize]slot
	spare []*slot

	calm  int // ticks since the last exchange; of run
	polls []unix.PollFd
	ask   []asked
}

// asked is a connection whose client is being looked for.
type asked struct {
	slot *slot
	conn *conn
	word uint64
}

func newSweeper(limits *Limits, clock func() int64) *sweeper {
	return &sweeper{limits: limits, clock: clock, poke: make(chan struct{}, 1)}
}

// enter gives a connection its slot.
func (s *sweeper) enter(c *conn) *slot {
	s.mu.Lock()
	if len(s.spare) == 0 {
		slab := new([slabSize]slot)
		s.slabs = append(s.slabs, slab)
		for i := range slab {
			s.spare = append(s.spare, &slab[i])
		}
	}
	sl := s.spare[len(s.spare)-1]
	s.spare = s.spare[:len(s.spare)-1]
	s.mu.Unlock()
	sl.conn.Store(c)
	return sl
}

func (s *sweeper) leave(sl *slot) {
	sl.conn.Store(nil)
	sl.word.Store(0)
	sl.up.Store(0)
	sl.timeout.Store(0)
	s.mu.Lock()
	s.spare = append(s.spare, sl)
	s.mu.Unlock()
}

// busy is called as an exchange begins.
func (s *sweeper) busy() {
	if !s.fast.Load() && s.fast.CompareAndSwap(false, true) {
		s.wake()
	}
}

// wake has the sweep look at once.
func (s *sweeper) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// run sweeps until stop is closed. Without connections it sleeps until one
// comes.
func (s *sweeper) run(stop <-chan struct{}) {
	timer := time.NewTimer(slowTick)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-s.poke:
		case <-timer.C:
		}
		if next := s.pace(s.tick(s.clock())); next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
	}
}

// pace is the time to the next tick, 0 for until it is asked for.
func (s *sweeper) pace(conns, exchanges bool) time.Duration {
	switch {
	case exchanges:
		s.calm = 0
	case s.calm < calmTicks:
		s.calm++
	}
	if s.calm < calmTicks {
		s.fast.Store(true)
		return fastTick
	}
	s.fast.Store(false)
	if conns {
		return slowTick
	}
	return 0
}

// all calls f with every connection.
func (s *sweeper) all(f func(*slot, *conn)) {
	s.mu.Lock()
	slabs := s.slabs
	s.mu.Unlock()
	for _, slab := range slabs {
		for i := range slab {
			if c := slab[i].conn.Load(); c != nil {
				f(&slab[i], c)
			}
		}
	}
}

// tick looks at every connection once and interrupts those whose time is up
// or whose client has left.
func (s *sweeper) tick(now int64) (conns, exchanges bool) {
	s.polls, s.ask = s.polls[:0], s.ask[:0]
	s.all(func(sl *slot, c *conn) {
		conns = true
		w := sl.word.Load()
		if p, _ := unpack(w); p >= phaseClientRead && p <= phaseStream {
			exchanges = true
		}
		if cause := s.limits.verdict(w, sl.up.Load(), sl.timeout.Load(), now); cause != causeNone {
			c.take(w, cause)
			return
		}
		if watched(w, now) && c.sock.fd >= 0 {
			s.polls = append(s.polls, unix.PollFd{Fd: int32(c.sock.fd), Events: unix.POLLRDHUP})
			s.ask = append(s.ask, asked{sl, c, w})
		}
	})
	s.findLeavers()
	return conns, exchanges
}

// findLeavers interrupts the connections whose clients have closed. One whose
// word has changed is left alone: its descriptor may be another's by now.
func (s *sweeper) findLeavers() {
	if len(s.polls) == 0 {
		return
	}
	if n, err := unix.Poll(s.polls, 0); n <= 0 || err != nil {
		return
	}
	for i, p := range s.polls {
		if p.Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0 {
			s.ask[i].conn.take(s.ask[i].word, causeGone)
		}
	}
}
