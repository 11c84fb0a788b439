package forward

import "encoding/binary"

// frames follows one direction of a WebSocket (RFC 6455 5.2) just closely
// enough to know where a frame ends and whether a close frame was seen. The
// zero value is before the first frame.
type frames struct {
	head   [14]byte
	have   int    // bytes of the head that are there
	left   uint64 // payload bytes still to come
	closed bool   // a close frame has begun
}

const opClose = 8

// atBoundary reports whether the next byte starts a frame.
func (f *frames) atBoundary() bool { return f.have == 0 && f.left == 0 }

// advance takes the next bytes of the stream.
func (f *frames) advance(p []byte) {
	for len(p) > 0 {
		p = p[f.step(p):]
	}
}

// finish takes bytes only up to the end of the frame under way, and returns
// how many.
func (f *frames) finish(p []byte) (n int) {
	for n < len(p) && !f.atBoundary() {
		n += f.step(p[n:])
	}
	return n
}

// step takes at least one byte, and none beyond the end of a frame.
func (f *frames) step(p []byte) int {
	if f.left > 0 {
		n := min(f.left, uint64(len(p)))
		f.left -= n
		return int(n)
	}
	f.head[f.have] = p[0]
	f.have++
	if f.have >= 2 && f.have == f.headLen() {
		f.closed = f.closed || f.head[0]&0x0f == opClose
		f.left = f.payload()
		f.have = 0
	}
	return 1
}

func (f *frames) headLen() int {
	n := 2
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4 // the masking key
	}
	return n
}

func (f *frames) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// Close frames with code 1001, going away: from a server, and from a client,
// whose frames are masked (with zeros here: the key protects nothing in a
// frame that the peer did not choose).
var (
	goingAway       = []byte{0x80 | opClose, 2, 1001 >> 8, 1001 & 0xff}
	goingAwayMasked = []byte{0x80 | opClose, 0x80 | 2, 0, 0, 0, 0, 1001 >> 8, 1001 & 0xff}
)
