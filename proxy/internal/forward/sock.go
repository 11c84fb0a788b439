package forward

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

var (
	// errWouldBlock says that nothing is there to read yet.
	errWouldBlock = errors.New("nothing to read yet")
	// errStale says that a connection was closed by the app, or has bytes that
	// nobody asked for, before a request was sent on it.
	errStale = errors.New("the connection was not idle")
)

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
	// secure is there if nc is a TLS connection; fd is what that uses.
	secure *secure

	read   readOp
	write  writeOp
	asking askOp
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

// askOp is a request under way from its first byte to the first of its answer.
type askOp struct {
	used bool // the connection may be stale
	wait bool
	sent bool
	call func(fd uintptr) bool
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
	if raw.Control(func(fd uintptr) { s.fd = int(fd) }) != nil {
		s.fd = -1 // it is closed already, as the first read will tell
	}
}

// fill reads once into *b, which it takes from a pool if it is nil. It waits
// for the first byte. The end of the stream is io.EOF.
func (s *sock) fill(b **buffer, large bool) error {
	return s.readInto(b, large, false)
}

// tryFill is fill without waiting; it may return errWouldBlock.
func (s *sock) tryFill(b **buffer, large bool) error {
	if s.raw == nil && s.secure == nil {
		return errWouldBlock
	}
	return s.readInto(b, large, true)
}

func (s *sock) readInto(b **buffer, large, try bool) error {
	if s.secure != nil {
		return s.secure.read(b, large, try)
	}
	if s.raw == nil {
		return s.plainRead(b, large)
	}
	op := &s.read
	op.begin(b, large, try)
	if err := s.raw.Read(op.call); err != nil {
		return err
	}
	return op.err
}

func (op *readOp) begin(b **buffer, large, try bool) {
	op.into, op.large, op.try, op.err = b, large, try, nil
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
		n, errno := recv(fd, room)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == 0 && n > 0:
			b.w += n
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
	if s.secure != nil {
		return s.secure.send(a, b, c)
	}
	if s.raw == nil {
		return s.plainSend(a, b, c)
	}
	op := &s.write
	op.begin(a, b, c)
	return op.end(s.raw.Write(op.call))
}

// ask sends a request as send does and, if wait is set, waits for the answer's
// first bytes, which it reads into *into. Of a connection that was used before it
// makes sure first that there is nothing to read, else errStale: what came too
// soon would be taken for the answer. Its look is the read that finds nothing
// and has to come before each wait anyway, so it costs nothing.
//
// The error is that of sending. One of reading is left for the next fill.
func (s *sock) ask(into **buffer, used, wait bool, a, b, c []byte) (int, error) {
	if s.raw == nil {
		return s.plainSend(a, b, c)
	}
	op := &s.write
	op.begin(a, b, c)
	s.read.begin(into, false, false)
	s.asking.used, s.asking.wait, s.asking.sent = used, wait, false
	if s.asking.call == nil {
		s.asking.call = s.onAsk
	}
	err := s.raw.Read(s.asking.call)
	if s.asking.sent && op.err == nil {
		err = nil
		if op.gather() > 0 { // the app is slow to take it
			err = s.raw.Write(op.call)
		}
	}
	return op.end(err)
}

// onAsk runs once to send, and then as onReadable does. The wait for the answer
// has begun by the time that it sends: an answer that comes at once is not missed.
func (s *sock) onAsk(fd uintptr) bool {
	op := &s.asking
	if op.sent {
		return s.onReadable(fd)
	}
	if op.used && !quiet(fd) {
		s.write.err = errStale
		return true
	}
	op.sent = true
	return !s.onWritable(fd) || s.write.err != nil || !op.wait
}

// quiet reports whether a connection is open and has nothing to read.
func quiet(fd uintptr) bool {
	var b [1]byte
	_, errno := recv(fd, b[:])
	return errno == syscall.EAGAIN
}

// begin takes the slices of a write. A few bytes are joined to a, in the room
// behind it.
func (op *writeOp) begin(a, b, c []byte) {
	if n := len(b) + len(c); n > 0 && n <= smallWrite && n <= cap(a)-len(a) {
		a, b, c = append(append(a, b...), c...), nil, nil
	}
	op.parts, op.n, op.err = [3][]byte{a, b, c}, 0, nil
}

// end lets go of the slices and returns what became of the write.
func (op *writeOp) end(err error) (int, error) {
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
		n, errno := send(fd, op.iov[:k])
		switch errno {
		case 0:
			op.advance(n)
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
		_ = c.CloseWrite() // it is closed for good next
	}
}

// brittle has the connection end with RST, and not with FIN, wherever it ends now:
// should this process be killed, the peer must not take what it got for complete.
func (s *sock) brittle(yes bool) {
	seconds := -1
	if yes {
		seconds = 0
	}
	if c, ok := s.nc.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(seconds) // it is closed already, or no worse off
	}
}

// close ends the connection; cut says that the peer must not take what it got for
// complete.
func (s *sock) close(cut bool) {
	nc := s.nc
	if s.secure != nil {
		discard(&s.secure.in)
		nc = s.secure.wire.nc
	}
	if c, ok := nc.(interface{ SetLinger(int) error }); cut && ok {
		_ = c.SetLinger(0) // RST instead of FIN
	}
	nc.Close()
}

// Setting a deadline fails only on a connection that was closed, where nobody
// waits any more.

func (s *sock) deadline(t time.Time)      { _ = s.nc.SetDeadline(t) }
func (s *sock) readDeadline(t time.Time)  { _ = s.nc.SetReadDeadline(t) }
func (s *sock) writeDeadline(t time.Time) { _ = s.nc.SetWriteDeadline(t) }
