// Package auth knows who calls: the kernel's word on the peer of a unix socket,
// what roles that gives, and which role a method asks for. Nothing a client says
// about itself counts.
package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Peer is the process at the other end of a unix socket, as it was when it
// connected.
type Peer struct {
	PID    int // 0 where it lives in another pid namespace
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
}

// in tells whether the peer has a group, primary or supplementary.
func (p Peer) in(gid uint32) bool {
	return p.GID == gid || slices.Contains(p.Groups, gid)
}

// authInfo carries the peer of a connection, and what was found out about it.
type authInfo struct {
	credentials.CommonAuthInfo
	peer   Peer
	member membership
}

// AuthType names how the peer was identified.
func (*authInfo) AuthType() string { return "peercred" }

// NewAuthInfo returns what Credentials gives a connection of this peer.
func NewAuthInfo(p Peer) credentials.AuthInfo {
	return &authInfo{
		// Nobody but the kernel and root sees or changes what goes through a unix socket.
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		peer:           p,
	}
}

// Credentials identifies the peers of unix sockets by SO_PEERCRED and
// SO_PEERGROUPS.
func Credentials() credentials.TransportCredentials {
	return peerCredentials{insecure.NewCredentials()}
}

type peerCredentials struct {
	credentials.TransportCredentials
}

// ServerHandshake asks the kernel; nothing is sent.
func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	p, err := peerOf(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("who connected: %w", err)
	}
	return conn, NewAuthInfo(p), nil
}

// ClientHandshake is not offered: these are a server's credentials.
func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are for servers")
}

// Clone returns the same: it has no state.
func (c peerCredentials) Clone() credentials.TransportCredentials {
	return peerCredentials{c.TransportCredentials.Clone()}
}

func peerOf(conn net.Conn) (Peer, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("a %T is no unix socket", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	var asked error
	if err := raw.Control(func(fd uintptr) { p, asked = ask(int(fd)) }); err != nil {
		return Peer{}, err
	}
	return p, asked
}

func ask(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Peer{}, fmt.Errorf("SO_PEERGROUPS: %w", err)
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid, Groups: groups}, nil
}

// peerGroups reads the supplementary groups. The kernel says ERANGE, and how many
// there are, where they do not fit.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}
