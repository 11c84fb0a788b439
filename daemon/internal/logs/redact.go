package logs

import (
	"bytes"
	"slices"

	"github.com/roostd/roost/daemon/internal/app"
)

// secret is what must not be shown of an instance's output: its token, or, where
// that is not known, whatever looks like one. It is unknown for a moment when an
// instance writes before its launch was answered, and for good where its record is
// gone and its output is not.
type secret struct {
	token   string // "" for none
	unknown bool
}

func secretOf(token string, known bool) secret { return secret{token, !known} }

const (
	// tokenSize is how many hexadecimal digits a token has: 128 bits.
	tokenSize = 32
	// secretHint is how many of a token's first bytes are too many to show, where
	// the output ends in the middle of it.
	secretHint = 8
)

// hide returns b without the token: b itself where nothing of it is to be hidden.
// Where nothing follows b (final), the beginning of a token at its end is hidden too.
func (s secret) hide(b []byte, final bool) []byte {
	switch {
	case s.unknown:
		return hideRuns(b, final)
	case s.token == "":
		return b
	case bytes.Contains(b, []byte(s.token)):
		b = bytes.ReplaceAll(b, []byte(s.token), []byte(app.Redacted))
	}
	if !final {
		return b
	}
	for n := min(len(s.token)-1, len(b)); n >= secretHint; n-- {
		if string(b[len(b)-n:]) == s.token[:n] {
			return slices.Concat(b[:len(b)-n], []byte(app.Redacted))
		}
	}
	return b
}

// hideRuns hides what may be a token: digits enough for one.
func hideRuns(b []byte, final bool) []byte {
	out := make([]byte, 0, len(b))
	for at := 0; at < len(b); {
		n := run(b[at:])
		if n >= tokenSize || final && n >= secretHint && at+n == len(b) {
			out = append(out, app.Redacted...)
		} else {
			n = max(n, 1)
			out = append(out, b[at:at+n]...)
		}
		at += n
	}
	return out
}

// run counts the hexadecimal digits that b begins with.
func run(b []byte) int {
	n := 0
	for n < len(b) && isHex(b[n]) {
		n++
	}
	return n
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

// cut returns the largest place up to n where b can be cut in two without
// cutting a token, or what may become one by bytes still to come. 0 says that
// there is none.
func (s secret) cut(b []byte, n int) int {
	if s.unknown {
		for n > 0 && isHex(b[n-1]) && (n == len(b) || isHex(b[n])) {
			n--
		}
		return n
	}
	for {
		at, ok := s.spans(b, n)
		if !ok {
			return n
		}
		n = at
	}
}

// spans finds where a token, as far as b goes, begins before n and ends behind it.
func (s secret) spans(b []byte, n int) (at int, ok bool) {
	for at = max(0, n-len(s.token)+1); at < n; at++ {
		known := min(len(b)-at, len(s.token))
		if string(b[at:at+known]) == s.token[:known] {
			return at, true
		}
	}
	return 0, false
}
