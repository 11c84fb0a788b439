package http1

import "bytes"

// Field is one field line of a head, as offsets into the head's bytes: they
// stay right when a growing buffer moves.
type Field struct {
	line, colon, value, valueEnd, end uint32
	// ID is the field if it is a known one.
	ID ID
}

// Fields is the part that requests, responses and trailer sections share: a
// resumable walk over lines, and the fields found. The zero value is ready.
type Fields struct {
	list []Field
	buf  []byte // set when complete; valid as long as the caller keeps it
	pos  int    // start of the line not yet complete
	scan int    // no LF before here
	// Of all Connection fields together.
	close, keepAlive, upgrade, nominates bool
	options, connections                 int
	connectionAt                         [maxConnections]uint16 // where in list they are
}

// Len is the number of fields.
func (h *Fields) Len() int { return len(h.list) }

// At returns field i.
func (h *Fields) At(i int) *Field { return &h.list[i] }

// Name returns the field's name as sent.
func (h *Fields) Name(f *Field) []byte { return h.buf[f.line:f.colon] }

// Value returns the field's value without the white space around it.
func (h *Fields) Value(f *Field) []byte { return h.buf[f.value:f.valueEnd] }

// Get returns the value of the first field with this ID.
func (h *Fields) Get(id ID) ([]byte, bool) {
	for i := range h.list {
		if h.list[i].ID == id {
			return h.Value(&h.list[i]), true
		}
	}
	return nil, false
}

// line returns the next complete line of buf without its CRLF; ok is false
// when more bytes are needed.
func (h *Fields) line(buf []byte, limit int, large *Error) (start, end int, ok bool, err error) {
	i := bytes.IndexByte(buf[h.scan:], '\n')
	if i < 0 {
		h.scan = len(buf)
		if len(buf) >= limit {
			return 0, 0, false, large
		}
		return 0, 0, false, nil
	}
	lf := h.scan + i
	if lf == h.pos || buf[lf-1] != '\r' {
		return 0, 0, false, ErrBareLF
	}
	if lf >= limit {
		return 0, 0, false, large
	}
	start = h.pos
	h.pos, h.scan = lf+1, lf+1
	return start, lf - 1, true, nil
}

// add parses the field line buf[start:end].
func (h *Fields) add(buf []byte, start, end int) (*Field, error) {
	line := buf[start:end]
	if line[0] == ' ' || line[0] == '\t' {
		return nil, ErrObsFold
	}
	colon := 0
	for colon < len(line) && token[line[colon]] {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return nil, ErrFieldName
	}
	if len(h.list) >= MaxFields {
		return nil, ErrFields
	}
	value := line[colon+1:]
	if !cleanValue(value) {
		return nil, ErrFieldValue
	}
	from, to := colon+1, len(line)
	for from < to && (line[from] == ' ' || line[from] == '\t') {
		from++
	}
	for to > from && (line[to-1] == ' ' || line[to-1] == '\t') {
		to--
	}
	h.list = append(h.list, Field{
		line: uint32(start), colon: uint32(start + colon), end: uint32(end + 2),
		value: uint32(start + from), valueEnd: uint32(start + to),
		ID: fieldID(line[:colon]),
	})
	return &h.list[len(h.list)-1], nil
}

// connection notes what a Connection field asks for, the last one in list.
func (h *Fields) connection(value []byte) error {
	if h.connections == maxConnections {
		return ErrOptions
	}
	h.connectionAt[h.connections] = uint16(len(h.list) - 1)
	h.connections++
	for opt := range elements(value) {
		if h.options++; h.options > maxOptions {
			return ErrOptions
		}
		switch {
		case EqualFold(opt, "close"):
			h.close = true
		case EqualFold(opt, "keep-alive"):
			h.keepAlive = true
		case EqualFold(opt, "upgrade"):
			h.upgrade = true
		default:
			h.nominates = true
		}
	}
	return nil
}

// nominated reports whether a Connection field names f, which makes f
// hop-by-hop (RFC 9110 7.6.1).
func (h *Fields) nominated(f *Field) bool {
	name := h.Name(f)
	for _, i := range h.connectionAt[:h.connections] {
		for opt := range elements(h.Value(&h.list[i])) {
			if len(opt) == len(name) && bytes.EqualFold(opt, name) {
				return true
			}
		}
	}
	return false
}

// Set is a set of known fields.
type Set [NumIDs]bool

// SetOf returns the set of ids.
func SetOf(ids ...ID) *Set {
	s := new(Set)
	for _, id := range ids {
		s[id] = true
	}
	return s
}

// Has reports whether there is a field with this ID that is not hop-by-hop.
func (h *Fields) Has(id ID) bool {
	for i := range h.list {
		if h.list[i].ID == id && !(h.nominates && h.nominated(&h.list[i])) {
			return true
		}
	}
	return false
}

// AppendExcept appends all field lines as they were sent, but those in drop
// and those that a Connection field nominates. Neighbours are copied in one
// go.
func (h *Fields) AppendExcept(dst []byte, drop *Set) []byte {
	var from, to uint32
	for i := range h.list {
		f := &h.list[i]
		if drop[f.ID] || h.nominates && h.nominated(f) {
			continue
		}
		if f.line != to {
			dst = append(dst, h.buf[from:to]...)
			from = f.line
		}
		to = f.end
	}
	return append(dst, h.buf[from:to]...)
}

// Contains reports whether any field with this ID lists the element s, which
// must be in lower case.
func (h *Fields) Contains(id ID, s string) bool {
	for i := range h.list {
		if h.list[i].ID != id {
			continue
		}
		for e := range elements(h.Value(&h.list[i])) {
			if EqualFold(e, s) {
				return true
			}
		}
	}
	return false
}

// elements walks a comma-separated list, without white space and empty ones.
func elements(list []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(list) > 0 {
			e := list
			if i := bytes.IndexByte(list, ','); i >= 0 {
				e, list = list[:i], list[i+1:]
			} else {
				list = nil
			}
			if e = trim(e); len(e) > 0 && !yield(e) {
				return
			}
		}
	}
}

// TrailerSection parses what follows the last chunk.
type TrailerSection struct{ Fields }

// Parse continues with buf, which starts where the section starts and has all
// bytes of the earlier calls. It returns the section's length with the empty
// line that ends it, or 0 when more bytes are needed.
func (t *TrailerSection) Parse(buf []byte) (int, error) {
	for {
		start, end, ok, err := t.line(buf, MaxTrailer, ErrTrailer)
		if !ok {
			return 0, err
		}
		if start == end {
			t.buf = buf[:t.pos]
			return t.pos, nil
		}
		if _, err := t.add(buf, start, end); err != nil {
			return 0, err
		}
	}
}
