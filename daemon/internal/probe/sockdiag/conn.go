package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// conn is one netlink socket, used by one goroutine at a time.
type conn struct {
	fd  int
	seq uint32
	out []byte
	in  []byte
}

// kernelError is an answer: the kernel understood and said no. The socket is
// fine after it.
type kernelError struct{ errno unix.Errno }

func (e kernelError) Error() string { return e.errno.Error() }
func (e kernelError) Unwrap() error { return e.errno }

// answerSize holds the largest message that the kernel sends to a dump.
const answerSize = 32 << 10

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open a sock_diag netlink socket: %w", err)
	}
	// The kernel answers before send returns, so a read never waits. Should it
	// ever, the caller is not to hang.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set up a sock_diag netlink socket: %w", err)
	}
	c := &conn{fd: fd, in: make([]byte, answerSize)}
	if err := c.check(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// check asks for the listeners of a port nobody uses: a kernel without sock_diag
// for TCP refuses with ENOENT, which to an exact question means "no such socket".
func (c *conn) check() error {
	local := netip.AddrPortFrom(netip.Addr{}, 1)
	err := c.ask(inetRequest(unix.AF_INET, local, netip.AddrPort{}, 1<<Listen), unix.NLM_F_DUMP, func([]byte) error { return nil })
	if err != nil {
		// Not wrapped: nobody shall take this ENOENT for an answer.
		return errors.New("this kernel answers no sock_diag for TCP (modules tcp_diag and inet_diag): " + err.Error())
	}
	return nil
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// ask sends a SOCK_DIAG_BY_FAMILY request and calls each with the payload of
// every answer. A kernelError leaves the socket usable.
func (c *conn) ask(payload []byte, flags uint16, each func([]byte) error) error {
	c.seq++
	dump := flags&unix.NLM_F_DUMP != 0
	if err := c.send(payload, flags|unix.NLM_F_REQUEST); err != nil {
		return err
	}
	for {
		n, from, err := unix.Recvfrom(c.fd, c.in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read from sock_diag: %w", err)
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // from no kernel
		}
		done, err := c.answer(c.in[:n], dump, each)
		if err != nil || done {
			return err
		}
	}
}

func (c *conn) send(payload []byte, flags uint16) error {
	size := unix.SizeofNlMsghdr + len(payload)
	c.out = append(c.out[:0], make([]byte, unix.SizeofNlMsghdr)...)
	native.PutUint32(c.out, uint32(size))
	native.PutUint16(c.out[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(c.out[6:], flags)
	native.PutUint32(c.out[8:], c.seq)
	c.out = append(c.out, payload...)
	for {
		err := unix.Sendto(c.fd, c.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return wrap("ask sock_diag", err)
		}
	}
}

// answer goes through the messages of one datagram.
func (c *conn) answer(b []byte, dump bool, each func([]byte) error) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size, kind, seq := int(native.Uint32(b)), native.Uint16(b[4:]), native.Uint32(b[8:])
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return true, errShort
		}
		body := b[unix.SizeofNlMsghdr:size]
		b = b[min(align(size), len(b)):]
		if seq != c.seq {
			continue
		}
		switch kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			return true, status(body)
		case unix.SOCK_DIAG_BY_FAMILY:
			if err := each(body); err != nil || !dump {
				return true, err
			}
		}
	}
	return false, nil
}

// status is the negative errno that an error and the end of a dump begin with.
func status(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	if errno := int32(native.Uint32(body)); errno < 0 {
		return kernelError{unix.Errno(-errno)}
	}
	return nil
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
