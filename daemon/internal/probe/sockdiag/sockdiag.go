// Package sockdiag asks the kernel about sockets through sock_diag netlink.
//
// It is what makes a readiness poll cheap: one exact question costs some
// microseconds, where a read of /proc/net/tcp costs milliseconds.
package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// State is a TCP state as the kernel numbers them.
type State uint8

// The states that matter here.
const (
	Established State = 1
	FinWait1    State = 4
	FinWait2    State = 5
	Closing     State = 11
	Listen      State = 10
)

// Socket is a TCP socket.
type Socket struct {
	Local  netip.AddrPort
	State  State
	UID    uint32
	Inode  uint32 // 0 while no process has it: not yet accepted, or orphaned
	V6Only bool   // of a listening IPv6 socket
}

// UnixSocket is a listening unix socket.
type UnixSocket struct {
	Name  string // as given to bind
	Inode uint32 // of the socket
	UID   uint32
	// File and Dev are inode and device of the name in the file system; the
	// inode's lower 32 bits, the device as the kernel holds it.
	File, Dev uint32
	HasUID    bool // the kernel told the uid (since 5.3)
}

// Querier asks questions. It keeps its netlink sockets open; its zero value is
// ready to use by any number of goroutines.
type Querier struct {
	mu   sync.Mutex
	idle []*conn
}

// maxIdle is how many netlink sockets are kept for the next question.
const maxIdle = 4

// Close closes the sockets that are kept open. The Querier stays usable.
func (q *Querier) Close() {
	q.mu.Lock()
	idle := q.idle
	q.idle = nil
	q.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// Listener returns the listening socket that a connection to addr would reach:
// the kernel's own look-up, so wildcards and IPv6 sockets that serve IPv4 are
// found as a client would find them.
func (q *Querier) Listener(addr netip.AddrPort) (Socket, bool, error) {
	return q.exact(addr, netip.AddrPort{}, Listen)
}

// Conn returns the socket of a TCP connection, seen from the side whose own
// address is local. A reset or closed connection is found no more, or its
// listener is: State tells.
func (q *Querier) Conn(local, remote netip.AddrPort) (Socket, bool, error) {
	return q.exact(local, remote, Established)
}

func (q *Querier) exact(local, remote netip.AddrPort, state State) (s Socket, found bool, err error) {
	err = q.with(func(c *conn) error {
		return c.ask(inetRequest(family(local.Addr()), local, remote, 1<<state), 0, func(msg []byte) error {
			s, err = parseInet(msg)
			found = err == nil
			return err
		})
	})
	// ENOENT is "no such socket": that there is sock_diag for TCP, dial saw.
	if errors.Is(err, unix.ENOENT) {
		return Socket{}, false, nil
	}
	return s, found, err
}

// Listeners lists the TCP sockets that listen on port, whatever their address;
// port 0 is every port. It walks a kernel table: about 0.1 ms.
func (q *Querier) Listeners(port uint16) ([]Socket, error) { return q.list(port, 1<<Listen) }

// Users lists the TCP sockets with the local port, whatever their state and
// address; since Linux 6.8 those that are only bound, too.
func (q *Querier) Users(port uint16) ([]Socket, error) { return q.list(port, ^uint32(0)) }

func (q *Querier) list(port uint16, states uint32) ([]Socket, error) {
	var all []Socket
	err := q.with(func(c *conn) error {
		for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
			req := inetRequest(fam, netip.AddrPortFrom(netip.Addr{}, port), netip.AddrPort{}, states)
			err := c.ask(req, unix.NLM_F_DUMP, func(msg []byte) error {
				s, err := parseInet(msg)
				if err == nil {
					all = append(all, s)
				}
				return err
			})
			if fam == unix.AF_INET6 && errors.Is(err, unix.ENOENT) {
				continue // a kernel without IPv6
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list sockets of a port through sock_diag: %w", err)
	}
	return all, nil
}

// UnixListeners lists the listening unix sockets.
func (q *Querier) UnixListeners() ([]UnixSocket, error) {
	var all []UnixSocket
	err := q.with(func(c *conn) error {
		return c.ask(unixRequest(1<<Listen), unix.NLM_F_DUMP, func(msg []byte) error {
			s, err := parseUnix(msg)
			if err == nil {
				all = append(all, s)
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list unix sockets through sock_diag (kernel module unix_diag): %w", err)
	}
	return all, nil
}

// with lends f a netlink socket. One that failed is not used again: answers to
// an old question may still be in it.
func (q *Querier) with(f func(*conn) error) error {
	c, err := q.take()
	if err != nil {
		return err
	}
	err = f(c)
	if _, fromKernel := errors.AsType[kernelError](err); err != nil && !fromKernel {
		c.close()
		return err
	}
	q.put(c)
	return err
}

func (q *Querier) take() (*conn, error) {
	q.mu.Lock()
	if n := len(q.idle); n > 0 {
		c := q.idle[n-1]
		q.idle = q.idle[:n-1]
		q.mu.Unlock()
		return c, nil
	}
	q.mu.Unlock()
	return dial()
}

func (q *Querier) put(c *conn) {
	q.mu.Lock()
	keep := len(q.idle) < maxIdle
	if keep {
		q.idle = append(q.idle, c)
	}
	q.mu.Unlock()
	if !keep {
		c.close()
	}
}

func family(a netip.Addr) uint8 {
	if a.Is4() || !a.IsValid() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
