package logs

import (
	"bytes"
	"strings"
)

// secret is a token that must not be shown; empty for none.
type secret string

const (
	redacted = "***"
	// secretHint is how many of a token's first bytes are too many to show, where
	// the output ends in the middle of it.
	secretHint = 8
)

// hide returns a copy of b without the token. Where nothing follows b (final),
// the beginning of a token at its end is hidden too.
func (s secret) hide(b []byte, final bool) []byte {
	if s == "" {
		return bytes.Clone(b)
	}
	b = bytes.ReplaceAll(b, []byte(s), []byte(redacted))
	if !final {
		return b
	}
	for n := min(len(s)-1, len(b)); n >= secretHint; n-- {
		if string(b[len(b)-n:]) == string(s[:n]) {
			return append(b[:len(b)-n], redacted...)
		}
	}
	return b
}

// hideText is hide for a whole text.
func (s secret) hideText(text string) string {
	if s == "" {
		return text
	}
	return strings.ReplaceAll(text, string(s), redacted)
}

// cut returns the largest place up to n where b can be cut in two without
// cutting a token, or what may become one by bytes still to come. 0 says that
// there is none.
func (s secret) cut(b []byte, n int) int {
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
	for at = max(0, n-len(s)+1); at < n; at++ {
		known := min(len(b)-at, len(s))
		if string(b[at:at+known]) == string(s[:known]) {
			return at, true
		}
	}
	return 0, false
}
