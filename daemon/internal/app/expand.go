package app

import (
	"fmt"
	"strings"
)

// Expand replaces ${NAME} by what lookup gives and $$ by a dollar. Any other
// dollar stays as it is. A name that lookup does not know is an error.
func Expand(s string, lookup func(string) (string, bool)) (string, error) {
	if !strings.Contains(s, "$") {
		return s, nil
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			return b.String(), nil
		}
		b.WriteString(s[:i])
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			s = s[i+2:]
		case '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return "", fmt.Errorf("%q has a ${ without }: write $$ for a dollar", s)
			}
			name := s[i+2 : i+end]
			v, ok := lookup(name)
			if !ok {
				return "", fmt.Errorf("${%s} is not set in the app's environment: set it under env, or write $$ for a dollar", name)
			}
			b.WriteString(v)
			s = s[i+end+1:]
		default:
			b.WriteByte('$')
			s = s[i+1:]
		}
	}
}

// Names returns the variables that s expands.
func Names(s string) []string {
	var names []string
	// A lookup that knows every name fails only on a missing brace.
	_, _ = Expand(s, func(name string) (string, bool) {
		names = append(names, name)
		return "", true
	})
	return names
}
