package http1

// Chunked decodes the chunked coding (RFC 9112 7.1) as an incremental state
// machine. The zero value is at the start of a body.
type Chunked struct {
	state  chunkState
	digits uint8
	left   uint64 // of the size being read, then of the chunk's data
	ext    int    // bytes of extensions so far
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkSpace
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkLast
)

// Done reports whether the last chunk was read: the trailer section follows.
func (c *Chunked) Done() bool { return c.state == chunkLast }

// Decode moves body bytes from src to dst and returns how many of each it
// took. dst must hold len(src) bytes and may be src itself. It stops where
// the trailer section starts, else takes all of src. Errors are *Error.
func (c *Chunked) Decode(dst, src []byte) (nd, ns int, err error) {
	for ns < len(src) && c.state != chunkLast {
		if c.state == chunkData {
			n := int(min(c.left, uint64(len(src)-ns)))
			copy(dst[nd:], src[ns:ns+n])
			nd += n
			ns += n
			if c.left -= uint64(n); c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if err := c.framing(src[ns]); err != nil {
			return nd, ns, err
		}
		ns++
	}
	return nd, ns, nil
}

// framing takes one byte that is not data.
func (c *Chunked) framing(b byte) error {
	switch c.state {
	case chunkSize:
		return c.size(b)
	case chunkSpace, chunkExt:
		return c.extension(b)
	case chunkSizeLF:
		if b != '\n' {
			return ErrChunkSize
		}
		c.state = chunkData
		if c.left == 0 {
			c.state = chunkLast
		}
	case chunkDataCR:
		if b != '\r' {
			return ErrChunkEnd
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return ErrChunkEnd
		}
		c.state, c.digits, c.left = chunkSize, 0, 0
	}
	return nil
}

func (c *Chunked) size(b byte) error {
	if v, ok := unhex(b); ok {
		// 15 digits: the size stays far from where additions overflow.
		if c.digits++; c.digits > 15 {
			return ErrChunkSize
		}
		c.left = c.left<<4 | uint64(v)
		return nil
	}
	if c.digits == 0 {
		return ErrChunkSize
	}
	switch b {
	case '\r':
		c.state = chunkSizeLF
	case ';':
		c.state = chunkExt
	case ' ', '\t':
		c.state = chunkSpace
	default:
		return ErrChunkSize
	}
	return nil
}

// extension skips chunk extensions: they are hop-by-hop, so never passed on.
func (c *Chunked) extension(b byte) error {
	if c.ext++; c.ext > maxExtension {
		return ErrChunkExt
	}
	switch {
	case c.state == chunkSpace:
		if b == ';' {
			c.state = chunkExt
		} else if b != ' ' && b != '\t' {
			return ErrChunkExt
		}
	case b == '\r':
		c.state = chunkSizeLF
	case b < 0x20 && b != '\t' || b == 0x7f:
		return ErrChunkExt
	}
	return nil
}
