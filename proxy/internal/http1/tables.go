package http1

import "encoding/binary"

// token marks the bytes of a token (RFC 9110 5.6.2): field names, methods.
var token = mark("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

// regName marks the bytes of a host name: unreserved, sub-delims and "%".
var regName = mark("-._~!$&'()*+,;=%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

func mark(set string) (t [256]bool) {
	for i := range len(set) {
		t[set[i]] = true
	}
	return t
}

func all(b []byte, t *[256]bool) bool {
	for _, c := range b {
		if !t[c] {
			return false
		}
	}
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// cleanValue reports whether b has no control character but HTAB (RFC 9110
// 5.5). Eight bytes at a time: values are most of a head. The last eight may
// overlap the ones before.
func cleanValue(b []byte) bool {
	if len(b) < 8 {
		return cleanBytes(b)
	}
	for i := 0; i < len(b); i += 8 {
		w := b[min(i, len(b)-8):][:8]
		x := binary.LittleEndian.Uint64(w)
		del := x ^ ones*0x7f
		if ((x-ones*0x20)&^x|(del-ones)&^del)&highs != 0 && !cleanBytes(w) {
			return false
		}
	}
	return true
}

func cleanBytes(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// visible reports whether b is visible ASCII only: no space, control
// character, DEL or byte above 0x7e.
func visible(b []byte) bool {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ ones*0x7f
		if ((x-ones*0x21)&^x|(del-ones)&^del|x)&highs != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c <= 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// EqualFold reports whether b is s, whatever the case of its ASCII letters.
// s must be in lower case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		if lower(b[i]) != s[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// trim cuts optional white space (SP, HTAB) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
