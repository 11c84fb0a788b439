package probe

import (
	"errors"

	"golang.org/x/sys/unix"
)

// PortFree tells whether an app could bind the port at any address, with
// SO_REUSEADDR as servers do. One that somebody has only bound, or has a
// connection from, is taken though nothing listens there. What cannot be found out
// counts as free.
func (r *Prober) PortFree(port int) bool {
	err := tryBind(unix.AF_INET6, &unix.SockaddrInet6{Port: port}) // IPv4 with it
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		err = tryBind(unix.AF_INET, &unix.SockaddrInet4{Port: port})
	}
	return !errors.Is(err, unix.EADDRINUSE)
}

func tryBind(family int, addr unix.Sockaddr) error {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if family == unix.AF_INET6 { // net.ipv6.bindv6only may say otherwise
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return err
		}
	}
	return unix.Bind(fd, addr)
}

// PortOwner tells whether a process has the port, at whatever address, and which,
// for people. What cannot be found out, and connections that outlive their process,
// count as free.
func (r *Prober) PortOwner(port int) (owner string, busy bool) {
	found, err := r.net.Listeners(uint16(port))
	if err != nil {
		r.cfg.Log.Warn("port not checked", "port", port, "error", err)
	}
	if len(found) > 0 {
		return r.proc.describe(found[0].Inode, found[0].UID), true
	}
	if r.PortFree(port) {
		return "", false
	}
	if found, err = r.net.Users(uint16(port)); err != nil {
		r.cfg.Log.Warn("port not checked", "port", port, "error", err)
	}
	for _, s := range found {
		if s.Inode != 0 {
			return r.proc.describe(s.Inode, s.UID), true
		}
	}
	// Before Linux 6.8 sockets that are only bound are not listed.
	return "a process that does not listen there", len(found) == 0
}
