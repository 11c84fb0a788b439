package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/internal/rpc"
)

// The modes of the socket. Root's is open to all: who may do what is decided by
// who the kernel says they are.
const (
	openSocket    = 0o666
	privateSocket = 0o600
)

// backlog is how many connections may wait to be accepted, as net does it.
const backlog = 4096

// listenUnix listens at path. The socket gets its owner and mode before anybody
// can connect. Only the holder of the state dir's lock may call it: it removes
// the socket that a killed daemon has left.
func listenUnix(path string, uid, gid int) (net.Listener, error) {
	if _, err := rpc.SocketPath("unix://" + path); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }() // FileListener has a copy
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	mode := fs.FileMode(privateSocket)
	if uid == 0 {
		mode = openSocket
	}
	err = errors.Join(os.Lchown(path, uid, gid), os.Chmod(path, mode))
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), os.Remove(path))
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), os.Remove(path))
	}
	l.(*net.UnixListener).SetUnlinkOnClose(true)
	return l, nil
}

// removeStale removes a socket that nobody listens at. The daemon of another
// state dir may be at this one.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("socket %s: there is something else of that name: remove it, or name another --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("socket %s is served by another process, of another state dir: stop that, or name another --socket", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("socket %s is there, and whether somebody serves it cannot be told: %w", path, err)
	}
	return os.Remove(path)
}
