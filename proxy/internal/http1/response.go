package http1

// Response is a response head. Reset makes it ready for the next one and
// keeps its memory. All slices point into the buffer given to Parse.
type Response struct {
	Fields
	// Status is 100 to 999.
	Status int
	// Reason is the reason phrase, maybe empty.
	Reason []byte
	// Minor is 0 or 1, of HTTP/1.Minor.
	Minor byte
	// Length is the Content-Length, -1 without one.
	Length int64
	// Chunked says that the body comes in chunks.
	Chunked bool
	// ConnectionAuth says that the app asks for such authentication, or goes on
	// with it: see Request.
	ConnectionAuth bool

	reason    span
	hasStatus bool
}

// Reset prepares r for the next head.
func (r *Response) Reset() {
	list := r.list
	*r = Response{Length: -1}
	r.list = list[:0]
}

// Parse continues with buf, which starts where the response starts and has
// all bytes of the earlier calls. It returns the head's length, or 0 when more
// bytes are needed. Errors are *Error; their status is meant for requests.
//
// After an error the response has no fields and nothing else to rely on.
func (r *Response) Parse(buf []byte) (int, error) {
	n, err := r.parse(buf)
	if err != nil {
		r.list = r.list[:0]
		return 0, err
	}
	return n, nil
}

func (r *Response) parse(buf []byte) (int, error) {
	for {
		start, end, ok, err := r.line(buf, MaxHead, ErrHeadTooLarge)
		if !ok {
			return 0, err
		}
		switch {
		case !r.hasStatus:
			if err := r.statusLine(buf, start, end); err != nil {
				return 0, err
			}
			r.hasStatus = true
		case start == end:
			return r.pos, r.finish(buf[:r.pos])
		default:
			if err := r.field(buf, start, end); err != nil {
				return 0, err
			}
		}
	}
}

// KeepAlive reports whether the app lets the connection stay open.
func (r *Response) KeepAlive() bool {
	return !r.close && (r.Minor == 1 || r.keepAlive)
}

// SwitchesTo reports whether a 101 switches to this protocol, named in lower
// case.
func (r *Response) SwitchesTo(protocol string) bool {
	return r.Status == 101 && r.upgrade && r.Contains(Upgrade, protocol)
}

// Bodyless reports whether the response to a request with method m has no
// body, whatever its fields say (RFC 9112 6.3).
func (r *Response) Bodyless(m Method) bool {
	return m == MethodHead || r.Status < 200 || r.Status == 204 || r.Status == 304
}

// statusLine parses "HTTP/1.x SP 3DIGIT [SP reason]". Many apps leave the
// last space out when the reason is empty.
func (r *Response) statusLine(buf []byte, start, end int) error {
	line := buf[start:end]
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return ErrStatusLine
	}
	if line[7] != '0' && line[7] != '1' {
		return ErrVersion
	}
	r.Minor = line[7] - '0'
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return ErrStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return ErrStatusLine
	}
	r.reason = span{end, end}
	if len(line) > 12 {
		if line[12] != ' ' || !cleanValue(line[13:]) {
			return ErrStatusLine
		}
		r.reason.from = start + 13
	}
	return nil
}

func (r *Response) field(buf []byte, start, end int) error {
	f, err := r.add(buf, start, end)
	if err != nil || f.ID == Other {
		return err
	}
	value := buf[f.value:f.valueEnd]
	if f.ID == WWWAuthenticate {
		r.ConnectionAuth = r.ConnectionAuth || connectionChallenge(value)
	}
	return r.framing(f.ID, value, &r.Length, &r.Chunked)
}

func (r *Response) finish(head []byte) error {
	r.buf = head
	r.Reason = r.reason.of(head)
	return contradiction(r.Minor, r.Length, r.Chunked)
}
