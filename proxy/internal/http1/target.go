package http1

import "bytes"

// target splits the request target buf[from:to] (RFC 9112 3.2): origin form,
// absolute form, or "*" for OPTIONS.
func (r *Request) target(buf []byte, from, to int) error {
	t := buf[from:to]
	if len(t) == 0 || !visible(t) || bytes.IndexByte(t, '#') >= 0 {
		return ErrTarget
	}
	switch {
	case r.Method == MethodConnect:
		return nil
	case t[0] == '/':
	case len(t) == 1 && t[0] == '*' && r.Method == MethodOptions:
		r.path = span{from, to}
		r.query = span{to, to}
		return nil
	default:
		n := schemeLen(t)
		if n == 0 {
			return ErrTarget
		}
		r.absolute = true
		from += n
		end := from
		for end < to && buf[end] != '/' && buf[end] != '?' {
			end++
		}
		r.authority = span{from, end}
		from = end
	}
	r.path, r.query = span{from, to}, span{to, to}
	if i := bytes.IndexByte(buf[from:to], '?'); i >= 0 {
		r.path.to, r.query.from = from+i, from+i
	}
	return nil
}

// schemeLen is the length of "http://" or "https://" at the start of t, or 0.
func schemeLen(t []byte) int {
	for _, s := range []string{"http://", "https://"} {
		if len(t) > len(s) && EqualFold(t[:len(s)], s) {
			return len(s)
		}
	}
	return 0
}

// splitHost checks an authority without user information (RFC 3986 3.2.2)
// and returns its host without the port.
func splitHost(b []byte) (host []byte, ok bool) {
	host = b
	var port []byte
	if len(b) > 0 && b[0] == '[' {
		i := bytes.IndexByte(b, ']')
		if i < 3 || !allAddress(b[1:i]) {
			return nil, false
		}
		host, port = b[:i+1], b[i+1:]
		if len(port) > 0 {
			if port[0] != ':' {
				return nil, false
			}
			port = port[1:]
		}
	} else {
		if i := bytes.IndexByte(b, ':'); i >= 0 {
			host, port = b[:i], b[i+1:]
			if i == 0 {
				return nil, false
			}
		}
		if !all(host, &regName) {
			return nil, false
		}
	}
	if len(port) > 5 {
		return nil, false
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return nil, false
		}
	}
	return host, true
}

func allAddress(b []byte) bool {
	for _, c := range b {
		if _, hex := unhex(c); !hex && c != ':' && c != '.' {
			return false
		}
	}
	return true
}

// resolvePath checks the escapes of p and resolves its dot segments (RFC 3986
// 5.2.4), also those written as %2e, in place. Everything else stays byte for
// byte. A path that leads above the root is an error, not the root.
func resolvePath(p []byte) ([]byte, error) {
	dots := bytes.Contains(p, []byte("/."))
	for rest := p; ; {
		i := bytes.IndexByte(rest, '%')
		if i < 0 {
			break
		}
		c, ok := escape(rest[i:])
		if !ok || c == 0 {
			return nil, ErrEscape
		}
		dots = dots || c == '.'
		rest = rest[i+3:]
	}
	if !dots {
		return p, nil
	}
	return removeDots(p)
}

func removeDots(p []byte) ([]byte, error) {
	w := 0
	for i := 0; i < len(p); {
		j := i + 1
		for j < len(p) && p[j] != '/' {
			j++
		}
		switch dotCount(p[i+1 : j]) {
		case 0:
			w += copy(p[w:], p[i:j])
			i = j
			continue
		case 2:
			if w == 0 {
				return nil, ErrAboveRoot
			}
			w = bytes.LastIndexByte(p[:w], '/')
		}
		if j == len(p) {
			p[w] = '/'
			w++
		}
		i = j
	}
	return p[:w], nil
}

// dotCount is 1 for ".", 2 for "..", however they are written, and 0 for
// every other segment.
func dotCount(seg []byte) int {
	n := 0
	for len(seg) > 0 {
		switch c, ok := escape(seg); {
		case seg[0] == '.':
			seg = seg[1:]
		case ok && c == '.':
			seg = seg[3:]
		default:
			return 0
		}
		if n++; n > 2 {
			return 0
		}
	}
	return n
}

// escape decodes the percent escape at the start of b.
func escape(b []byte) (byte, bool) {
	if len(b) < 3 || b[0] != '%' {
		return 0, false
	}
	hi, ok1 := unhex(b[1])
	lo, ok2 := unhex(b[2])
	return hi<<4 | lo, ok1 && ok2
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
