package webconfig

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxText bounds a file in bytes: what is larger is no web.config.
const MaxText = 1 << 20

var (
	bom8  = []byte{0xef, 0xbb, 0xbf}
	bomLE = []byte{0xff, 0xfe}
	bomBE = []byte{0xfe, 0xff}

	declaredEncoding = regexp.MustCompile(`^<\?xml[^>]*\sencoding\s*=\s*["']([^"']*)["']`)
)

// upper1252 are the characters 0x80 to 0x9f of windows-1252; in ISO 8859-1, which
// Windows takes for the same, they are controls that no text has.
var upper1252 = []rune("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ")

// decode returns the file's text as UTF-8, without its byte order mark. With an
// error it returns what comes before the fault.
func decode(b []byte) (string, error) {
	switch {
	case len(b) > MaxText:
		return "", fmt.Errorf("it is larger than a web.config can be: at most %d bytes", MaxText)
	case bytes.HasPrefix(b, bom8):
		return decodeMarked(b[len(bom8):])
	case bytes.HasPrefix(b, bomLE):
		return decode16(b[2:], func(p []byte) uint16 { return uint16(p[0]) | uint16(p[1])<<8 })
	case bytes.HasPrefix(b, bomBE):
		return decode16(b[2:], func(p []byte) uint16 { return uint16(p[1]) | uint16(p[0])<<8 })
	case bytes.HasPrefix(b, []byte{'<', 0}):
		return decode16(b, func(p []byte) uint16 { return uint16(p[0]) | uint16(p[1])<<8 })
	case bytes.HasPrefix(b, []byte{0, '<'}):
		return decode16(b, func(p []byte) uint16 { return uint16(p[1]) | uint16(p[0])<<8 })
	}
	name := ""
	if m := declaredEncoding.FindSubmatch(b); m != nil {
		name = string(m[1])
	}
	switch strings.ToLower(name) {
	case "windows-1252", "iso-8859-1", "latin1":
		return decode1252(b), nil
	case "", "utf-8", "utf8", "us-ascii", "ascii", "utf-16", "unicode": // the last two: it was converted since
		return decodeMarked(b)
	}
	return "", fmt.Errorf("its encoding %q is not known here: save it as UTF-8", name)
}

func decodeMarked(b []byte) (string, error) {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return string(b[:i]), errors.New("not UTF-8: save it as UTF-8, or say its encoding in the first line")
		}
		i += n
	}
	return string(b), nil
}

func decode16(b []byte, unit func([]byte) uint16) (string, error) {
	var s strings.Builder
	for i := 0; i < len(b); i += 2 {
		if i+1 == len(b) {
			return s.String(), errors.New("not UTF-16: half a character is at its end")
		}
		r := rune(unit(b[i:]))
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if i+3 < len(b) {
				low = rune(unit(b[i+2:]))
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return s.String(), errors.New("not UTF-16: half of a pair is missing")
			}
			i += 2
		}
		s.WriteRune(r)
	}
	return s.String(), nil
}

func decode1252(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c >= 0x80 && c < 0xa0 {
			s.WriteRune(upper1252[c-0x80])
		} else {
			s.WriteRune(rune(c))
		}
	}
	return s.String()
}
