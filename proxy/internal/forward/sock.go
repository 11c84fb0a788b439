package forward

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// errWouldBlock says that nothing is there to read yet.
var errWouldBlock = errors.New("nothing to read yet")

// past is a deadline that has passed: it wakes whoever waits for a connection.
var past = time.Unix(1, 0)

// sock is a connection read and written by system calls of its own, on the
// descriptor that Go's netpoller watches. A buffer is taken when bytes are
// there, not while waiting for them, and one call writes up to three slices.
//
// One goroutine may read while another writes.
type sock struct {
	nc  net.Conn
	raw syscall.RawConn // nil where there is no descriptor: nc is used then
	fd  int

	read  readOp
	write writeOp
}

// readOp is a read under way: the callback of RawConn.Read without a closure
// for each call.
type readOp struct {
	into  **buffer
	large bool
	try   bool
	err   error
	call  func(fd uintptr) bool
}

type writeOp struct {
	parts [3][]byte
	iov   [3]syscall.Iovec
	n     int
	err   error
	call  func(fd uintptr) bool
	// stalled is called each time before a write waits for the peer.
	stalled func()
}

func (s *sock) init(nc net.Conn) {
	s.nc, s.fd = nc, -1
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	s.raw = raw
	s.read.call = s.onReadable
	s.write.call = s.onWritable
	raw.Control(func(fd uintptr) { s.fd = int(fd) })
}

// fill reads once into *b, which it takes from a pool if it is nil. It waits
// for the first byte. The end of the stream is io.EOF.
func (s *sock) fill(b **buffer, large bool) error {
	return s.readInto(b, large, false)
}

// tryFill is fill without waiting; it may return errWouldBlock.
func (s *sock) tryFill(b **buffer, large bool) error {
	if s.raw == nil {
		return errWouldBlock
	}
	return s.readInto(b, large, true)
}

func (s *sock) readInto(b **buffer, large, try bool) error {
	if s.raw == nil {
		return s.plainRead(b, large)
	}
	op := &s.read
	op.into, op.large, op.try, op.err = b, large, try, nil
	if err := s.raw.Read(op.call); err != nil {
		return err
	}
	return op.err
}

func (s *sock) onReadable(fd uintptr) bool {
	op := &s.read
	b := *op.into
	if b == nil {
		b = getBuffer(op.large)
	}
	for {
		room := b.b[b.w:]
		if len(room) == 0 {
			op.err = io.ErrShortBuffer // a caller's fault, and no reason to bring the process down
			return true
		}
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&room[0])), uintptr(len(room)))
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == 0 && n > 0:
			b.w += int(n)
			*op.into = b
			return true
		}
		if *op.into == nil {
			b.free()
		}
		switch {
		case errno == 0:
			op.err = io.EOF
		case errno != syscall.EAGAIN:
			op.err = os.NewSyscallError("read", errno)
		case op.try:
			op.err = errWouldBlock
		default:
			return false
		}
		return true
	}
}

func (s *sock) plainRead(b **buffer, large bool) error {
	if *b == nil {
		*b = getBuffer(large)
	}
	n, err := s.nc.Read((*b).b[(*b).w:])
	(*b).w += n
	if n > 0 {
		return nil
	}
	release(b)
	return err
}

// smallWrite is up to where copying bytes together is cheaper than a vector.
const smallWrite = 4 << 10

// send writes all bytes of up to three slices in one call where the peer takes
// them. It returns how many were written. It may use the room behind a.
func (s *sock) send(a, b, c []byte) (int, error) {
	if n := len(b) + len(c); n > 0 && n <= smallWrite && n <= cap(a)-len(a) {
		a, b, c = append(append(a, b...), c...), nil, nil
	}
	if s.raw == nil {
		return s.plainSend(a, b, c)
	}
	op := &s.write
	op.parts, op.n, op.err = [3][]byte{a, b, c}, 0, nil
	err := s.raw.Write(op.call)
	op.parts = [3][]byte{}
	op.iov = [3]syscall.Iovec{}
	if err == nil {
		err = op.err
	}
	return op.n, err
}

func (s *sock) onWritable(fd uintptr) bool {
	op := &s.write
	for {
		k := op.gather()
		if k == 0 {
			return true
		}
		var n uintptr
		var errno syscall.Errno
		if k == 1 {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(op.iov[0].Base)), uintptr(op.iov[0].Len))
		} else {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&op.iov[0])), uintptr(k))
		}
		switch errno {
		case 0:
			op.advance(int(n))
		case syscall.EINTR:
		case syscall.EAGAIN:
			if op.stalled != nil {
				op.stalled()
			}
			return false
		default:
			op.err = os.NewSyscallError("write", errno)
			return true
		}
	}
}

// gather lists the slices that are not empty and returns their number.
func (op *writeOp) gather() (k int) {
	for _, p := range op.parts {
		if len(p) > 0 {
			op.iov[k].Base = &p[0]
			op.iov[k].SetLen(len(p))
			k++
		}
	}
	return k
}

func (op *writeOp) advance(n int) {
	op.n += n
	for i := range op.parts {
		m := min(n, len(op.parts[i]))
		op.parts[i] = op.parts[i][m:]
		n -= m
	}
}

func (s *sock) plainSend(parts ...[]byte) (n int, err error) {
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		m, err := s.nc.Write(p)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// closeWrite ends the stream to the peer and leaves the other direction open.
func (s *sock) closeWrite() {
	if c, ok := s.nc.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}

// reset has close send RST instead of FIN: the peer must not take what it got
// for complete.
func (s *sock) reset() {
	if c, ok := s.nc.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
}
