package http1

// framing notes what a field says of where its message ends (RFC 9112 6.3), and
// of the connection. length is -1 until there is one.
func (h *Fields) framing(id ID, value []byte, length *int64, chunked *bool) (err error) {
	switch id {
	case ContentLength:
		if *length >= 0 {
			return ErrLengthTwice
		}
		*length, err = parseLength(value)
	case TransferEncoding:
		if *chunked || !EqualFold(value, "chunked") {
			return ErrCoding
		}
		*chunked = true
	case Connection:
		err = h.connection(value)
	}
	return err
}

// contradiction is the fault of a message that says two things of its end, or
// one that its version does not know.
func contradiction(minor byte, length int64, chunked bool) error {
	switch {
	case chunked && minor == 0:
		return ErrCodingOn10
	case chunked && length >= 0:
		return ErrCodingAndLen
	}
	return nil
}

// parseLength reads a Content-Length: digits only, at most 18 of them.
func parseLength(b []byte) (int64, error) {
	if len(b) == 0 || len(b) > 18 {
		return -1, ErrLength
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1, ErrLength
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}
