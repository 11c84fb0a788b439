package sockdiag

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Sizes and numbers of linux/sock_diag.h, inet_diag.h and unix_diag.h, which
// x/sys does not have.
const (
	inetRequestSize = 56 // struct inet_diag_req_v2
	inetMessageSize = 72 // struct inet_diag_msg
	inetAttrV6Only  = 11 // INET_DIAG_SKV6ONLY

	unixRequestSize = 24 // struct unix_diag_req
	unixMessageSize = 16 // struct unix_diag_msg
	unixShowName    = 1
	unixShowVFS     = 2
	unixShowUID     = 0x40
	unixAttrName    = 0
	unixAttrVFS     = 1
	unixAttrUID     = 7

	noCookie     = ^uint32(0)
	attrTypeMask = 0x3fff // NLA_TYPE_MASK
)

var native = binary.NativeEndian

var errShort = errors.New("sock_diag message is too short")

// inetRequest is a struct inet_diag_req_v2 for TCP.
func inetRequest(fam uint8, local, remote netip.AddrPort, states uint32) []byte {
	b := make([]byte, inetRequestSize)
	b[0], b[1] = fam, unix.IPPROTO_TCP
	native.PutUint32(b[4:], states)
	binary.BigEndian.PutUint16(b[8:], local.Port())
	binary.BigEndian.PutUint16(b[10:], remote.Port())
	putAddr(b[12:28], local.Addr())
	putAddr(b[28:44], remote.Addr())
	native.PutUint32(b[48:], noCookie)
	native.PutUint32(b[52:], noCookie)
	return b
}

// putAddr writes the address, an invalid one as zeros.
func putAddr(b []byte, a netip.Addr) {
	if a.IsValid() {
		copy(b, a.AsSlice())
	}
}

// parseInet reads a struct inet_diag_msg and the attributes behind it.
func parseInet(b []byte) (Socket, error) {
	if len(b) < inetMessageSize {
		return Socket{}, errShort
	}
	addr := netip.AddrFrom4([4]byte(b[8:12]))
	if b[0] == unix.AF_INET6 {
		addr = netip.AddrFrom16([16]byte(b[8:24]))
	}
	s := Socket{
		Local: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[4:])),
		State: State(b[1]),
		UID:   native.Uint32(b[64:]),
		Inode: native.Uint32(b[68:]),
	}
	err := attributes(b[inetMessageSize:], func(kind uint16, value []byte) {
		if kind == inetAttrV6Only && len(value) >= 1 {
			s.V6Only = value[0] != 0
		}
	})
	return s, err
}

// unixRequest is a struct unix_diag_req.
func unixRequest(states uint32) []byte {
	b := make([]byte, unixRequestSize)
	b[0] = unix.AF_UNIX
	native.PutUint32(b[4:], states)
	native.PutUint32(b[12:], unixShowName|unixShowVFS|unixShowUID)
	native.PutUint32(b[16:], noCookie)
	native.PutUint32(b[20:], noCookie)
	return b
}

// parseUnix reads a struct unix_diag_msg and the attributes behind it.
func parseUnix(b []byte) (UnixSocket, error) {
	if len(b) < unixMessageSize {
		return UnixSocket{}, errShort
	}
	s := UnixSocket{Inode: native.Uint32(b[4:])}
	err := attributes(b[unixMessageSize:], func(kind uint16, value []byte) {
		switch {
		case kind == unixAttrName:
			s.Name = strings.TrimRight(string(value), "\x00")
		case kind == unixAttrVFS && len(value) >= 8:
			s.File, s.Dev = native.Uint32(value), native.Uint32(value[4:])
		case kind == unixAttrUID && len(value) >= 4:
			s.UID, s.HasUID = native.Uint32(value), true
		}
	})
	return s, err
}

// attributes calls f for each netlink attribute in b.
func attributes(b []byte, f func(kind uint16, value []byte)) error {
	for len(b) >= unix.SizeofNlAttr {
		size := int(native.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return errShort
		}
		f(native.Uint16(b[2:])&attrTypeMask, b[unix.SizeofNlAttr:size])
		b = b[min(align(size), len(b)):]
	}
	return nil
}

// align rounds up to the 4 bytes that netlink aligns to.
func align(n int) int { return (n + 3) &^ 3 }
