package manifest

import (
	"errors"
	"regexp"
	"strings"
)

// splitCommand splits a command line as a shell would (POSIX, section 2.2:
// quotes and backslashes), without a shell: nothing expands, and what only a
// shell could do is an error instead of an argument that nobody meant.
func splitCommand(s string) ([]string, error) {
	var (
		words []string
		word  strings.Builder
		open  bool // a word has begun, empty quotes included
	)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\n':
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
		case '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("it has a ' without its end")
			}
			word.WriteString(s[i+1 : i+1+end])
			i += end + 1
			open = true
		case '"':
			n, ok := doubleQuoted(s[i+1:], &word)
			if !ok {
				return nil, errors.New(`it has a " without its end`)
			}
			i += n
			open = true
		case '\\':
			if i++; i == len(s) {
				return nil, errors.New(`it ends with a \ that escapes nothing`)
			}
			if s[i] != '\n' { // a line that goes on
				word.WriteByte(s[i])
				open = true
			}
		case '|', '&', ';', '<', '>', '(', ')', '`':
			return nil, errors.New("there is no shell to do " + string(c) + ": quote it, or use [sh, -c, \"…\"]")
		default:
			word.WriteByte(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	if len(words) > 0 && assignment.MatchString(words[0]) {
		return nil, errors.New("there is no shell to set " + words[0] + ": put it under env")
	}
	return words, nil
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// doubleQuoted writes the text of s up to the closing quote to w and returns how
// many bytes it took, the quote included.
func doubleQuoted(s string, w *strings.Builder) (int, bool) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1, true
		case c == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`\n", s[i+1]) >= 0:
			if i++; s[i] != '\n' {
				w.WriteByte(s[i])
			}
		default:
			w.WriteByte(c)
		}
	}
	return 0, false
}
