package pump

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Poller waits for output of many streams at the cost of one goroutine and no
// thread. It is not Go's own poller, because that one stays armed: while a pump
// pauses, every line that an app writes would wake the whole keeper. Here a
// stream is armed for one event, when its pump has found it empty.
type Poller struct {
	epoll *os.File // in Go's poller itself

	mu    sync.Mutex
	ready map[int32]chan<- struct{} // by descriptor
}

// NewPoller returns a poller; Run makes it work and closes it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os would not poll it
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &Poller{epoll: os.NewFile(uintptr(fd), "epoll"), ready: map[int32]chan<- struct{}{}}, nil
}

// Run wakes pumps until ctx ends, or Close.
func (p *Poller) Run(ctx context.Context) error {
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { _ = p.epoll.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := p.epoll.SyscallConn()
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		var wait error
		err := raw.Read(func(fd uintptr) bool {
			n, wait = unix.EpollWait(int(fd), events, 0)
			return n > 0 || wait != nil && !errors.Is(wait, unix.EINTR)
		})
		if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err := errors.Join(err, wait); err != nil {
			return err
		}
		p.wake(events[:n])
	}
}

// Close ends a poller that does not run.
func (p *Poller) Close() { _ = p.epoll.Close() }

func (p *Poller) wake(events []unix.EpollEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		select {
		case p.ready[e.Fd] <- struct{}{}: // nil, and so passed over, where it was closed meanwhile
		default:
		}
	}
}

// add makes the poller know a descriptor, not armed yet.
func (p *Poller) add(fd int, ready chan<- struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready[int32(fd)] = ready
	return p.control(unix.EPOLL_CTL_ADD, fd, 0)
}

// arm asks for one event: at once where there is output, or no writer, already.
func (p *Poller) arm(fd int) error { return p.control(unix.EPOLL_CTL_MOD, fd, unix.EPOLLIN) }

// remove makes the poller forget a descriptor, which is closed next.
func (p *Poller) remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ready, int32(fd))
	_ = p.control(unix.EPOLL_CTL_DEL, fd, 0)
}

func (p *Poller) control(op, fd int, events uint32) error {
	raw, err := p.epoll.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(epoll uintptr) {
		err = unix.EpollCtl(int(epoll), op, fd, &unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(fd)})
	}); cerr != nil {
		return cerr
	}
	return os.NewSyscallError("epoll_ctl", err)
}
