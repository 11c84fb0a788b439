package webconfig

import (
	"regexp"
	"slices"
	"strings"
)

var (
	variable   = regexp.MustCompile(`%([A-Za-z_][A-Za-z0-9_.()-]*)%`)
	percentHex = regexp.MustCompile(`^[0-9A-Fa-f]{2}$`)
)

// portVariables are the names by which a command line or a value may ask for the
// app's port: the module's, that of the module before it, and ours.
var portVariables = []string{"ASPNETCORE_PORT", "HTTP_PLATFORM_PORT", "PORT"}

// hostVariables are those that an app has here as it had them there.
var hostVariables = []string{"PATH", "HOME"}

// expand writes a value's %NAME% as ${NAME}, and what would expand here but not
// there as it is meant. self is the variable that the value is of, or "": its own
// name means the one it replaces. Each name that nothing here sets is a loss, and
// stays as it is, as in Windows.
func (r *reader) expand(a *attribute, field, self string) string {
	var b strings.Builder
	s := a.value
	var told []string
	for {
		m := variable.FindStringSubmatchIndex(s)
		if m == nil {
			b.WriteString(escape(s))
			return b.String()
		}
		name := s[m[2]:m[3]]
		b.WriteString(escape(s[:m[0]]))
		known := r.known(name, self)
		switch {
		case percentHex.MatchString(name): // an escape of a URL
		case known != "":
			b.WriteString("${" + known + "}")
			s = s[m[1]:]
			continue
		case !slices.Contains(told, name):
			told = append(told, name)
			r.loss(lossUnresolved, a.place, field, "%%%s%% is a variable of the old machine: write its value instead", name)
		}
		b.WriteString(escape(s[m[0] : m[1]-1])) // the second % may be the first of another
		s = s[m[1]-1:]
	}
}

// escape keeps dollars from being expanded.
func escape(s string) string { return strings.ReplaceAll(s, "$", "$$") }

func unescape(s string) string { return strings.ReplaceAll(s, "$$", "$") }

// known returns the name of a variable as the app has it here, or "".
func (r *reader) known(name, self string) string {
	for _, p := range portVariables {
		if strings.EqualFold(name, p) {
			return "PORT"
		}
	}
	if v := r.env.find(name); v != nil && !r.env.inRing(v, self) {
		return v.name
	}
	for _, h := range hostVariables {
		if strings.EqualFold(name, h) {
			return h
		}
	}
	return ""
}
