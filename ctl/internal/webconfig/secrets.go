package webconfig

import (
	"regexp"
	"slices"
	"sort"
	"strings"
)

// secrets are the parts of a text that no excerpt shows: faults go to the logs of
// deployments.
type secrets struct {
	spans  []span
	sorted bool
}

type span struct{ from, to int }

var (
	// password is one wherever it stands: in arguments, in an element's text.
	password = regexp.MustCompile(`(?i)(?:password|passwd|pwd|secret|accountkey|accesskey|apikey|api-key|api_key)[ \t]*[=:][ \t]*([^;"'<\s]+)`)
	// secretAttribute begins what isSecret may be asked of.
	secretAttribute = regexp.MustCompile(`(?i)\b(?:value|connectionString|password)\s*=\s*`)
)

func (s *secrets) hide(from, to int) {
	s.spans = append(s.spans, span{from, to})
	s.sorted = false
}

func (s *secrets) hidePasswords(text string) {
	for _, m := range password.FindAllStringSubmatchIndex(text, -1) {
		s.hide(m[2], m[3])
	}
}

// hideMalformed hides what may be a secret in text that is no XML from an offset
// on, to the end of its line at least: where a value ends is what nobody can tell.
func (s *secrets) hideMalformed(text string, from int) {
	for _, m := range secretAttribute.FindAllStringIndex(text[from:], -1) {
		begin := from + m[1]
		if begin == len(text) {
			return
		}
		rest := text[begin:]
		end := strings.IndexByte(rest, '\n')
		if quote := rest[0]; quote == '"' || quote == '\'' {
			begin++
			if closing := strings.IndexByte(rest[1:], quote) + 1; closing > end && end >= 0 {
				end = closing
			}
		}
		if end < 0 {
			end = len(rest)
		}
		s.hide(begin, from+m[1]+end)
	}
}

// hides reports whether a character is part of a secret.
func (s *secrets) hides(at int) bool {
	return slices.ContainsFunc(s.spans, func(p span) bool { return p.from <= at && at < p.to })
}

// shown is a part of the text, with a star for each character of a secret.
func (s *secrets) shown(text string, from, to int) string {
	s.sort()
	next := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].to > from })
	var b strings.Builder
	for i, c := range text[from:to] {
		for next < len(s.spans) && s.spans[next].to <= from+i {
			next++
		}
		if next < len(s.spans) && from+i >= s.spans[next].from {
			c = '*'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// sort puts the spans in order, each behind the one before.
func (s *secrets) sort() {
	if s.sorted {
		return
	}
	slices.SortFunc(s.spans, func(a, b span) int { return a.from - b.from })
	kept := s.spans[:0]
	for _, p := range s.spans {
		if n := len(kept); n > 0 && p.from < kept[n-1].to {
			kept[n-1].to = max(kept[n-1].to, p.to)
		} else {
			kept = append(kept, p)
		}
	}
	s.spans, s.sorted = kept, true
}

// isSecret reports an attribute that holds passwords in many a file.
func (e *element) isSecret(name string) bool {
	switch strings.ToLower(name) {
	case "connectionstring", "password":
		return true
	case "value":
		return e.name == "environmentVariable" || e.parent != nil && e.parent.name == "appSettings"
	}
	return false
}
