package webconfig

import "strings"

// splitArguments splits a command line as Windows programs do (the rules of
// CommandLineToArgvW and of the C runtime for what follows the program):
// blanks separate, quotes hold together, 2n backslashes and a quote are n
// backslashes and a quote that opens or closes, 2n+1 are n and a quote that is
// meant, and two quotes inside quotes are one that is meant.
func splitArguments(s string) []string {
	var (
		words  []string
		word   strings.Builder
		begun  bool // an argument has, an empty one in quotes too
		quoted bool
	)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case (c == ' ' || c == '\t' || c == '\n' || c == '\r') && !quoted:
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		case c == '\\':
			begun = true
			n := 1
			for i+n < len(s) && s[i+n] == '\\' {
				n++
			}
			i += n - 1
			if i+1 == len(s) || s[i+1] != '"' {
				word.WriteString(strings.Repeat(`\`, n)) // nothing but a quote makes them special
				break
			}
			word.WriteString(strings.Repeat(`\`, n/2))
			if n%2 == 1 {
				word.WriteByte('"')
				i++
			}
		case c == '"' && quoted && i+1 < len(s) && s[i+1] == '"':
			word.WriteByte('"')
			i++
		case c == '"':
			begun, quoted = true, !quoted
		default:
			begun = true
			word.WriteByte(c)
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}
