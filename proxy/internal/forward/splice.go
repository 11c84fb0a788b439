package forward

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/roostd/roost/proxy/internal/http1"
	"golang.org/x/sys/unix"
)

// side tells which end of a splice failed.
type side uint8

const (
	toSrc side = iota
	toDst
)

// spliceFrom is the rest of a body from which on splice is cheaper than
// copying through this process, in bytes.
const spliceFrom = 64 << 10

// spliceable reports whether the rest of a body is worth a splice.
func spliceable(body *http1.Body, src, dst *sock) bool {
	return body.Kind == http1.ByLength && body.Left >= spliceFrom && src.raw != nil && dst.raw != nil
}

// pipe is what splice moves bytes through.
type pipe struct{ r, w int }

// pipeSize is asked for; the kernel may give less.
const pipeSize = 256 << 10

// pipes keeps a few for reuse. More splices at once make their own.
var pipes = make(chan pipe, 16)

// getPipe reports false where there is no descriptor for one: bytes can be
// copied without.
func getPipe() (pipe, bool) {
	select {
	case p := <-pipes:
		return p, true
	default:
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return pipe{}, false
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize) // a small one will do
	return pipe{fds[0], fds[1]}, true
}

// put keeps an empty pipe, close any other.
func (p pipe) put() {
	select {
	case pipes <- p:
	default:
		p.close()
	}
}

func (p pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// splice moves the rest of a body of known length from src to dst without
// copying it into this process. taken is called with the size of each piece that
// src gave, moved when dst has it. Both ends have descriptors. p is empty, and not
// the caller's any more.
func splice(p pipe, dst, src *sock, body *http1.Body, taken, moved func(n int)) (side, error) {
	for !body.Done() {
		n, err := src.spliceOut(p, int(min(body.Left, pipeSize)))
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			p.put()
			return toSrc, err
		}
		body.Take(int64(n))
		taken(n)
		if err := dst.spliceIn(p, n); err != nil {
			p.close() // it has bytes in it
			return toDst, err
		}
		moved(n)
	}
	p.put()
	return toDst, nil
}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK

// spliceOut moves up to limit bytes from s into the empty pipe p.
func (s *sock) spliceOut(p pipe, limit int) (n int, err error) {
	waitErr := s.raw.Read(func(fd uintptr) bool {
		for {
			var m int64
			m, err = unix.Splice(int(fd), nil, p.w, nil, limit, spliceFlags)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.EAGAIN):
				return false
			}
			n = int(m)
			return true
		}
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return n, os.NewSyscallError("splice", err)
}

// spliceIn moves n bytes from the pipe p to s.
func (s *sock) spliceIn(p pipe, n int) (err error) {
	waitErr := s.raw.Write(func(fd uintptr) bool {
		for n > 0 {
			var m int64
			m, err = unix.Splice(p.r, nil, int(fd), nil, n, spliceFlags)
			switch {
			case err == nil:
				n -= int(m)
			case errors.Is(err, syscall.EINTR):
			case errors.Is(err, syscall.EAGAIN):
				if s.write.stalled != nil {
					s.write.stalled()
				}
				return false
			default:
				return true
			}
		}
		return true
	})
	if waitErr != nil {
		return waitErr
	}
	return os.NewSyscallError("splice", err)
}
