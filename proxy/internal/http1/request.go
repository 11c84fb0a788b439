package http1

import "bytes"

// Method is a request method that the proxy treats specially.
type Method uint8

// The methods that matter here.
const (
	OtherMethod Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodOptions
	MethodTrace
	MethodConnect
)

// Idempotent reports whether repeating a request has the same effect as
// sending it once (RFC 9110 9.2.2).
func (m Method) Idempotent() bool {
	switch m {
	case MethodGet, MethodHead, MethodPut, MethodDelete, MethodOptions, MethodTrace:
		return true
	}
	return false
}

// Request is a request head. Reset makes it ready for the next one and keeps
// its memory. All slices point into the buffer given to Parse.
type Request struct {
	Fields
	Method     Method
	MethodName []byte
	// Path has its dot segments resolved; "*" for OPTIONS *.
	Path []byte
	// Query starts with "?" or is empty.
	Query []byte
	// Host is the authority that the request is for, with its port if the
	// client named one: of an absolute target, else of the Host field.
	Host []byte
	// Hostname is Host without the port.
	Hostname []byte
	// Minor is 0 or 1, of HTTP/1.Minor.
	Minor byte
	// Length is the Content-Length, -1 without one.
	Length int64
	// Chunked says that the body comes in chunks.
	Chunked bool
	// Expect100 says that the client waits for a 100 before it sends its body.
	Expect100 bool
	// ConnectionAuth says that the client authenticates by a scheme that may do
	// so for its connection: Negotiate or NTLM.
	ConnectionAuth bool

	state requestState
	hosts int
	host  Field
	// The target's parts, as offsets until the head is complete.
	method, path, query, authority span
	absolute                       bool
}

type requestState uint8

const (
	atRequestLine requestState = iota
	atFields
)

type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// Reset prepares r for the next head.
func (r *Request) Reset() {
	list := r.list
	*r = Request{Length: -1}
	r.list = list[:0]
}

// Parse continues with buf, which starts where the request starts and has all
// bytes of the earlier calls. It returns the head's length, or 0 when more
// bytes are needed. The path is resolved in place. Errors are *Error.
//
// After an error the request has no fields and nothing else to rely on.
func (r *Request) Parse(buf []byte) (int, error) {
	n, err := r.parse(buf)
	if err != nil {
		r.list = r.list[:0]
		return 0, err
	}
	return n, nil
}

func (r *Request) parse(buf []byte) (int, error) {
	for {
		if r.state == atRequestLine && r.pos < len(buf) && !begins(buf[r.pos]) {
			return 0, ErrRequestLine
		}
		start, end, ok, err := r.line(buf, MaxHead, ErrHeadTooLarge)
		if !ok {
			return 0, err
		}
		switch {
		case r.state == atRequestLine && start == end:
			// RFC 9112 2.2: empty lines before a request line are skipped.
		case r.state == atRequestLine:
			if err := r.requestLine(buf, start, end); err != nil {
				return 0, err
			}
			r.state = atFields
		case start == end:
			return r.pos, r.finish(buf[:r.pos])
		default:
			if err := r.field(buf, start, end); err != nil {
				return 0, err
			}
		}
	}
}

// begins reports whether a request may start with c, or an end of line that is
// skipped. Other protocols are told at their first byte: the line that a TLS
// handshake is not would be waited for in vain.
func begins(c byte) bool { return token[c] || c == '\r' || c == '\n' }

// KeepAlive reports whether the client wants the connection to stay open.
func (r *Request) KeepAlive() bool {
	return !r.close && (r.Minor == 1 || r.keepAlive)
}

// HasBody reports whether a body follows the head, be it an empty one in
// chunks.
func (r *Request) HasBody() bool { return r.Chunked || r.Length > 0 }

// WebSocket reports whether the request asks to switch to the WebSocket
// protocol. One with a body does not: where its end lies would depend on the
// answer.
func (r *Request) WebSocket() bool {
	return r.upgrade && r.Method == MethodGet && r.Minor == 1 && !r.HasBody() &&
		r.Contains(Upgrade, "websocket")
}

func (r *Request) field(buf []byte, start, end int) error {
	f, err := r.add(buf, start, end)
	if err != nil || f.ID == Other {
		return err
	}
	value := buf[f.value:f.valueEnd]
	switch f.ID {
	case Host:
		r.hosts++
		r.host = *f
	case Expect:
		r.Expect100 = r.Expect100 || EqualFold(value, "100-continue")
	case Authorization:
		r.ConnectionAuth = r.ConnectionAuth || connectionScheme(value)
	}
	return r.framing(f.ID, value, &r.Length, &r.Chunked)
}

func (r *Request) finish(head []byte) error {
	r.buf = head
	switch {
	case r.hosts > 1:
		return ErrHostTwice
	case r.hosts == 0 && r.Minor == 1:
		return ErrHostMissing
	}
	if err := contradiction(r.Minor, r.Length, r.Chunked); err != nil {
		return err
	}
	if r.Minor == 0 {
		r.Expect100 = false // RFC 9110 10.1.1
	}
	if r.hosts == 1 {
		r.Host = r.Value(&r.host)
		var ok bool
		if r.Hostname, ok = splitHost(r.Host); !ok {
			return ErrHost
		}
	}
	r.MethodName = r.method.of(head)
	if r.Method == MethodConnect {
		return nil // refused by the caller whatever its target is
	}
	return r.finishTarget(head)
}

func (r *Request) finishTarget(head []byte) error {
	if r.absolute {
		// RFC 9112 3.2.2: the target's host counts, the Host field does not.
		r.Host = r.authority.of(head)
		var ok bool
		if r.Hostname, ok = splitHost(r.Host); !ok || len(r.Hostname) == 0 {
			return ErrTarget
		}
	}
	r.Path, r.Query = r.path.of(head), r.query.of(head)
	if r.absolute && len(r.Path) == 0 {
		r.Path = slash
		if r.Method == MethodOptions && len(r.Query) == 0 {
			r.Path = asterisk
		}
	}
	if r.Path[0] == '*' {
		return nil
	}
	var err error
	r.Path, err = resolvePath(r.Path)
	return err
}

var slash, asterisk = []byte("/"), []byte("*")

// requestLine parses "METHOD SP target SP HTTP/1.x" in buf[start:end].
func (r *Request) requestLine(buf []byte, start, end int) error {
	line := buf[start:end]
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 || !all(line[:sp], &token) {
		return ErrRequestLine
	}
	r.Method = method(line[:sp])
	r.method = span{start, start + sp}
	const version = " HTTP/1.1"
	if len(line)-len(version) <= sp {
		return ErrRequestLine
	}
	tail := line[len(line)-len(version):]
	if string(tail[:len(tail)-1]) != " HTTP/1." {
		if bytes.HasPrefix(tail, []byte(" HTTP/")) {
			return ErrVersion
		}
		return ErrRequestLine
	}
	switch tail[len(tail)-1] {
	case '0':
		r.Minor = 0
	case '1':
		r.Minor = 1
	default:
		return ErrVersion
	}
	return r.target(buf, start+sp+1, end-len(version))
}

func method(name []byte) Method {
	switch string(name) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "OPTIONS":
		return MethodOptions
	case "TRACE":
		return MethodTrace
	case "CONNECT":
		return MethodConnect
	}
	return OtherMethod
}
