package forward

import (
	"sync"

	"github.com/roostd/roost/proxy/internal/http1"
)

// Buffers come from two pools: most heads and bodies fit a small one, a head
// may need a large one. They are held only while bytes are in them, so that
// an idle connection costs no buffer.
const (
	smallBuffer = 16 << 10
	largeBuffer = http1.MaxHead
)

// buffer holds bytes b[r:w] that were read and not used yet.
type buffer struct {
	b    []byte
	r, w int
}

var (
	smallBuffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, smallBuffer)} }}
	largeBuffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, largeBuffer)} }}
)

func getBuffer(large bool) *buffer {
	if large {
		return largeBuffers.Get().(*buffer)
	}
	return smallBuffers.Get().(*buffer)
}

func (b *buffer) free() {
	b.r, b.w = 0, 0
	if len(b.b) == largeBuffer {
		largeBuffers.Put(b)
	} else {
		smallBuffers.Put(b)
	}
}

// unread is what was read and not used. It works on nil.
func (b *buffer) unread() []byte {
	if b == nil {
		return nil
	}
	return b.b[b.r:b.w]
}

func (b *buffer) full() bool { return b.w == len(b.b) }

// compact moves what is unread to position at.
func (b *buffer) compact(at int) {
	if b.r != at {
		b.w = at + copy(b.b[at:], b.b[b.r:b.w])
		b.r = at
	}
}

// release frees *p if nothing in it is unread.
func release(p **buffer) {
	if *p != nil && (*p).r == (*p).w {
		(*p).free()
		*p = nil
	}
}

// discard frees *p whatever is in it.
func discard(p **buffer) {
	if *p != nil {
		(*p).free()
		*p = nil
	}
}

// enlarge replaces *p by a large buffer with the same bytes. It reports false
// if it is one already.
func enlarge(p **buffer) bool {
	old := *p
	if len(old.b) == largeBuffer {
		return false
	}
	b := getBuffer(true)
	b.w = copy(b.b, old.unread())
	old.free()
	*p = b
	return true
}
