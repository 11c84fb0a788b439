package resolve

import (
	"fmt"
	"regexp"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// ParseEnvFile reads NAME=VALUE lines: blank ones and those that begin with # are
// passed over, "export " before a name too. A value in double quotes may have \n,
// \t, \", \\ and \$ in it, one in single quotes is taken as it is. Nothing is
// expanded. Errors name the line, never a value.
func ParseEnvFile(data string) (map[string]string, error) {
	vars := map[string]string{}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(data, "\ufeff")) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, raw, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if !ok || !variableName.MatchString(name) {
			return nil, fmt.Errorf("line %d: want NAME=VALUE", number)
		}
		value, err := unquote(strings.TrimSpace(raw))
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", number, name, err)
		}
		vars[name] = value
	}
	return vars, nil
}

var errQuote = fmt.Errorf("a quote is not closed, or something follows it")

func unquote(s string) (string, error) {
	if strings.Contains(s, "\x00") {
		return "", fmt.Errorf("a zero byte cannot be in a value")
	}
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return s, nil
	}
	if s[0] == '\'' {
		end := strings.IndexByte(s[1:], '\'')
		if end < 0 || !isComment(s[end+2:]) {
			return "", errQuote
		}
		return s[1 : end+1], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if !isComment(s[i+1:]) {
				return "", errQuote
			}
			return b.String(), nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteString(escaped(s[i]))
		default:
			b.WriteByte(c)
		}
	}
	return "", errQuote
}

// isComment tells whether nothing follows a quoted value but a comment.
func isComment(rest string) bool {
	rest = strings.TrimSpace(rest)
	return rest == "" || rest[0] == '#'
}

func escaped(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'r':
		return "\r"
	case '"', '\\', '$', '`':
		return string(c)
	}
	return `\` + string(c)
}
