package app

import "strings"

// Redacted stands where the pairing token of an instance would.
const Redacted = "***"

// tokenHint is how many bytes of a token in a row are too many to show.
const tokenHint = 8

// Redact returns text without the token, and without any good part of it: what a
// probe or an app said may have been cut anywhere.
func Redact(text, token string) string {
	if len(token) < tokenHint || !holdsHint(text, token) {
		return text
	}
	var b strings.Builder
	for at := 0; at < len(text); {
		n := common(text[at:], token)
		if n < tokenHint {
			b.WriteByte(text[at])
			at++
			continue
		}
		b.WriteString(Redacted)
		at += n
	}
	return b.String()
}

// holdsHint tells whether there is anything to hide.
func holdsHint(text, token string) bool {
	for i := range len(token) - tokenHint + 1 {
		if strings.Contains(text, token[i:i+tokenHint]) {
			return true
		}
	}
	return false
}

// common is how many of the first bytes of text are somewhere in the token.
func common(text, token string) int {
	n := 0
	for n < len(text) && n < len(token) && strings.Contains(token, text[:n+1]) {
		n++
	}
	return n
}
