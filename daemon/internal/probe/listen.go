package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/probe/sockdiag"
)

// loopbacks are where the proxy reaches an app. The kernel's own look-up at them
// finds wildcards, and IPv4 served by IPv6 sockets, as a client would.
var loopbacks = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

const (
	// strangerTries is how often a socket that no process is seen to have is
	// looked at before it counts as a stranger's: it may be on its way from one
	// process of the instance to another.
	strangerTries = 5
	// lookAround is the shortest time between two looks for the port at
	// addresses that the proxy cannot reach.
	lookAround = 100 * time.Millisecond
	// unreachableGrace is how long the app may listen on its port at an address
	// out of reach only, before that is a failure: it may be about to add another.
	unreachableGrace = 2 * time.Second
)

// listening waits for a socket of the instance that listens on its port, where
// the proxy reaches it (listen.mode port).
type listening struct {
	*target
	unowned int       // tries that found a socket which nobody seems to have
	looked  time.Time // the last look for addresses out of reach
	outside time.Time // since when it listens out of reach; zero: it does not
}

func (s *listening) wait(ctx context.Context) error {
	return poll(ctx, s.socketPace(), s.try)
}

func (s *listening) try(ctx context.Context) (bool, error) {
	address, taken, err := s.find(ctx, uint16(s.l.Port))
	if err != nil {
		return false, err
	}
	if address != "" {
		s.address = address
		return true, nil
	}
	if taken != nil {
		return false, s.taken(taken)
	}
	return false, s.checkOutside(ctx)
}

// find returns the address where the instance listens on port, else the stranger
// that does.
func (t *target) find(ctx context.Context, port uint16) (address string, taken *stranger, err error) {
	for _, host := range loopbacks {
		addr := netip.AddrPortFrom(host, port)
		socket, found, err := t.net.Listener(addr)
		if err != nil {
			return "", nil, err
		}
		if !found {
			continue
		}
		who, pid, err := t.owner(ctx, socket.Inode, socket.UID)
		if err != nil {
			return "", nil, err
		}
		if who == ours {
			return addr.String(), nil, nil
		}
		taken = &stranger{addr: addr, uid: socket.UID, pid: pid}
	}
	return "", taken, nil
}

// stranger has a socket where the instance should.
type stranger struct {
	addr netip.AddrPort
	uid  uint32
	pid  int // 0: not to be seen
}

// taken fails the start for a stranger on the port, as soon as it is sure to be one.
func (s *listening) taken(by *stranger) error {
	if by.pid == 0 {
		if s.unowned++; s.unowned < strangerTries {
			return nil
		}
	}
	who := fmt.Sprintf("a process of uid %d", by.uid)
	if by.pid != 0 {
		who = s.proc.describeProcess(by.pid)
	}
	message := fmt.Sprintf("port %d is taken: %s listens on %s, which is no process of this instance", s.l.Port, who, by.addr)
	if s.l.Spec.Listen.Port != 0 {
		message += ": stop it, or give the app another listen.port"
	}
	return &app.StartError{Step: "port", Message: message}
}

// checkOutside fails the start once the instance has been listening on its port
// out of the proxy's reach, and nowhere else, for a while.
func (s *listening) checkOutside(ctx context.Context) error {
	now := time.Now()
	if now.Sub(s.looked) < max(lookAround, now.Sub(s.start)*pausePercent/100) {
		return nil
	}
	s.looked = now
	found, err := s.net.Listeners(uint16(s.l.Port))
	if err != nil {
		return err
	}
	if len(found) > 0 {
		own := s.ownInodes(ctx)
		found = slices.DeleteFunc(found, func(k sockdiag.Socket) bool { return !own[k.Inode] })
	}
	if len(found) == 0 {
		s.outside = time.Time{}
		return nil
	}
	if s.outside.IsZero() {
		s.outside = now
	}
	if now.Sub(s.outside) < s.grace() {
		return nil
	}
	return &app.StartError{
		Step: "listen",
		Message: fmt.Sprintf("the app listens on %s only, where the proxy cannot reach it: make it listen on 127.0.0.1:%d",
			join(found), s.l.Port),
	}
}

func (s *listening) grace() time.Duration {
	if d := s.l.Spec.Start.Timeout; d != nil {
		return min(unreachableGrace, *d/20)
	}
	return unreachableGrace
}

func (s *listening) missing(ctx context.Context) string {
	message := fmt.Sprintf("nothing of the app listens on 127.0.0.1:%d", s.l.Port)
	if where := s.elsewhere(ctx); where != "" {
		return fmt.Sprintf("%s, it listens on %s instead: make it use the port given in $PORT", message, where)
	}
	return message + ": make it listen on the port given in $PORT, or give it more time with start.timeout"
}

// elsewhere lists the addresses that the instance listens on, "" for none.
func (t *target) elsewhere(ctx context.Context) string {
	all, err := t.net.Listeners(0)
	if err != nil || len(all) == 0 {
		return ""
	}
	own := t.ownInodes(ctx)
	return join(slices.DeleteFunc(all, func(k sockdiag.Socket) bool { return !own[k.Inode] }))
}

// stillListens tells whether a socket of the instance listens at the address.
func (t *target) stillListens(ctx context.Context) error {
	addr, err := netip.ParseAddrPort(t.address)
	if err != nil {
		return fmt.Errorf("address %q of the instance: %w", t.address, err)
	}
	socket, found, err := t.net.Listener(addr)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("nothing listens on %s any more", t.address)
	}
	who, _, err := t.owner(ctx, socket.Inode, socket.UID)
	if err == nil && who != ours {
		err = fmt.Errorf("no process of the instance listens on %s any more, but %s", t.address, t.proc.describe(socket.Inode, socket.UID))
	}
	return err
}

// join lists the sockets' addresses, each once.
func join(sockets []sockdiag.Socket) string {
	var list []string
	for _, s := range sockets {
		list = append(list, s.Local.String())
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}
