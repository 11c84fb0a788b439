package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Severity tells a fault that refuses a manifest from one that does not.
type Severity int

// The severities.
const (
	Error Severity = iota
	Warning
)

// Fault is something wrong at a place of a manifest.
type Fault struct {
	File     string
	Line     int // from 1; 0 where the place is not known
	Column   int // from 1, in characters
	Path     string
	Message  string
	Severity Severity
	text     string // the line, or a part of it
	before   int    // characters of the line that are before text
}

// Error is the fault in one line: file:line:column: message.
func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// WithLine is the fault with the line that it is in, or a part of it that begins
// behind so many characters, for who reads something else than a manifest.
func (f Fault) WithLine(text string, before int) Fault {
	f.text, f.before = text, before
	return f
}

const (
	excerptIndent = "    "
	excerptWidth  = 120 // characters of a line that are shown
)

// Excerpt is the fault's line with a caret under its column, each line indented
// and ended; empty where the place is not known.
func (f Fault) Excerpt() string {
	if f.Line <= 0 || f.text == "" {
		return ""
	}
	line := []rune(f.text)
	at := min(max(f.Column-1-f.before, 0), len(line))
	from := 0
	if at >= excerptWidth {
		from = at - excerptWidth/2
	}
	to := min(from+excerptWidth, len(line))
	pad := slices.Clone(line[from:at])
	for i, r := range pad {
		if r != '\t' { // a tab stays one, so that the caret stands where the line does
			pad[i] = ' '
		}
	}
	return excerptIndent + printable(string(line[from:to])) + "\n" + excerptIndent + string(pad) + "^\n"
}

// printable replaces what a terminal would obey instead of show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError) {
			return '?'
		}
		return r
	}, s)
}

// Faults are all that is wrong, in the order of the lines.
type Faults []Fault

// Error joins the faults' lines.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort orders faults by file and place.
func (fs Faults) Sort() {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Refuse reports whether one of them is more than a warning.
func (fs Faults) Refuse() bool {
	return slices.ContainsFunc(fs, func(f Fault) bool { return f.Severity == Error })
}

// Covers reports whether a fault was already found at path, above or below it:
// the daemon's word on the same thing would only be an echo of it.
func (fs Faults) Covers(path string) bool {
	return slices.ContainsFunc(fs, func(f Fault) bool {
		return f.Path != "" && (within(path, f.Path) || within(f.Path, path))
	})
}

// within reports whether path is outer or a part of it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
