package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/probe/sockdiag"
)

// accepted waits until the instance has accepted a connection on the listening
// socket that it was started with (listen.mode fd). The kernel completes the
// connection long before; that the app has taken it shows in the server side of
// the connection, which is then a descriptor of the instance.
type accepted struct {
	*target
	conn    net.Conn
	local   netip.AddrPort // the server's side
	remote  netip.AddrPort // ours
	unowned int
	closed  bool // the app had closed the socket at the last try
}

// dialTimeout bounds one connect: with a full backlog the kernel would repeat it
// for minutes.
const dialTimeout = 250 * time.Millisecond

func (s *accepted) wait(ctx context.Context) error {
	defer s.drop()
	return poll(ctx, s.socketPace(), s.try)
}

func (s *accepted) try(ctx context.Context) (bool, error) {
	if s.conn == nil && !s.connect(ctx) {
		return false, nil
	}
	socket, found, err := s.net.Conn(s.local, s.remote)
	if err != nil {
		return false, err
	}
	switch {
	case !found || socket.State == sockdiag.Listen:
		s.drop() // reset: the app closed its socket, or refused; try another
		return false, nil
	case hasEnded(socket.State):
		// Closed by its server after it was accepted; what is not accepted is reset.
		s.drop()
		return s.stillListens(ctx) == nil, nil
	case socket.Inode == 0:
		return false, nil // in the backlog
	}
	who, pid, err := s.owner(ctx, socket.Inode, socket.UID)
	if err != nil || who == ours {
		return who == ours, err
	}
	if who == nobodys {
		if s.unowned++; s.unowned < strangerTries {
			return false, nil
		}
	}
	return false, s.stolen(socket.UID, pid)
}

// stolen fails the start: its socket is served by somebody else.
func (s *accepted) stolen(uid uint32, pid int) error {
	who := fmt.Sprintf("a process of uid %d", uid)
	if pid != 0 {
		who = s.proc.describeProcess(pid)
	}
	return &app.StartError{
		Step:    "listen",
		Message: fmt.Sprintf("%s accepted a connection to %s, which is no process of this instance", who, s.address),
	}
}

// connect opens the probe connection; the backlog takes it at once.
func (s *accepted) connect(ctx context.Context) bool {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", s.address)
	if s.closed = err != nil; s.closed {
		return false
	}
	s.conn = conn
	s.local, s.remote = addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	return true
}

func (s *accepted) drop() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func (s *accepted) missing(ctx context.Context) string {
	message := "the app has not accepted a connection on the socket it was given (descriptor 3, LISTEN_FDS)"
	if s.closed {
		message = "the app has closed the socket it was given (descriptor 3, LISTEN_FDS)"
	}
	own := s.elsewhere(ctx)
	if own == "" || own == s.address {
		return message
	}
	return fmt.Sprintf("%s; it listens on %s", message, own)
}

// hasEnded tells the states of a socket that was closed in good order by its
// own side.
func hasEnded(s sockdiag.State) bool {
	return s == sockdiag.FinWait1 || s == sockdiag.FinWait2 || s == sockdiag.Closing
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
