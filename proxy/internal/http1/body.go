package http1

// BodyKind is how a body is framed.
type BodyKind uint8

// The framings of RFC 9112 6.3.
const (
	NoBody BodyKind = iota
	ByLength
	ByChunks
	// UntilClose ends with the connection; responses only.
	UntilClose
)

// Body finds the bytes and the end of one body in a stream of bytes.
type Body struct {
	Kind BodyKind
	// Left is what is still to come, ByLength only.
	Left int64
	// Trailers are complete once Done, ByChunks only.
	Trailers TrailerSection

	chunks Chunked
	done   bool
}

// RequestBody is the body that follows r.
func (b *Body) RequestBody(r *Request) {
	switch {
	case r.Chunked:
		b.reset(ByChunks, 0)
	case r.Length > 0:
		b.reset(ByLength, r.Length)
	default:
		b.reset(NoBody, 0)
	}
}

// ResponseBody is the body that follows r, the response to a request with
// method m.
func (b *Body) ResponseBody(r *Response, m Method) {
	switch {
	case r.Bodyless(m) || r.Length == 0:
		b.reset(NoBody, 0)
	case r.Chunked:
		b.reset(ByChunks, 0)
	case r.Length > 0:
		b.reset(ByLength, r.Length)
	default:
		b.reset(UntilClose, 0)
	}
}

func (b *Body) reset(kind BodyKind, n int64) {
	trailers := b.Trailers
	*b = Body{Kind: kind, Left: n, done: kind == NoBody}
	b.Trailers.list = trailers.list[:0]
}

// Done reports whether the body's last byte was fed.
func (b *Body) Done() bool { return b.done }

// Feed takes the next bytes of the stream. data are the body's bytes among
// them, decoded in place at the start of p; used is how much of p was taken.
// What was not taken must come again, with more behind it, unless the body is
// done: then it belongs to the next message. Errors are *Error.
func (b *Body) Feed(p []byte) (data []byte, used int, err error) {
	switch {
	case b.done:
		return nil, 0, nil
	case b.Kind == ByLength:
		n := int(min(b.Left, int64(len(p))))
		b.Take(int64(n))
		return p[:n], n, nil
	case b.Kind == UntilClose:
		return p, len(p), nil
	}
	nd, ns, err := b.chunks.Decode(p, p)
	if err != nil || !b.chunks.Done() {
		return p[:nd], ns, err
	}
	n, err := b.Trailers.Parse(p[ns:])
	b.done = n > 0
	return p[:nd], ns + n, err
}

// Take notes n bytes that went past this buffer, ByLength only.
func (b *Body) Take(n int64) {
	b.Left -= n
	b.done = b.Left == 0
}

// EOF notes the end of the stream. It is an error unless the body ends there.
func (b *Body) EOF() error {
	if b.Kind == UntilClose {
		b.done = true
	}
	if !b.done {
		return ErrTruncatedBody
	}
	return nil
}
