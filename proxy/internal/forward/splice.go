package forward

import (
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

// pipe is what splice moves bytes through.
type pipe struct{ r, w int }

// pipeSize is asked for; the kernel may give less.
const pipeSize = 256 << 10

// pipes keeps a few for reuse. More splices at once make their own.
var pipes = make(chan pipe, 16)

func getPipe() (pipe, error) {
	select {
	case p := <-pipes:
		return p, nil
	default:
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, os.NewSyscallError("pipe2", err)
	}
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return pipe{fds[0], fds[1]}, nil
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
// copying it into this process. moved is called after each piece with its
// size. Both ends have descriptors.
func splice(dst, src *sock, body *http1.Body, moved func(n int)) (side, error) {
	p, err := getPipe()
	if err != nil {
		return toSrc, err
	}
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
			switch err {
			case syscall.EINTR:
				continue
			case syscall.EAGAIN:
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
			switch err {
			case nil:
				n -= int(m)
			case syscall.EINTR:
			case syscall.EAGAIN:
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
