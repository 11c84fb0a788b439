package logs

import (
	"bytes"
	"regexp"

	"github.com/roostd/roost/daemon/internal/app"
)

// compileGrep makes what a query's regular expression means; nil for none.
func compileGrep(name, expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, nil
	}
	grep, err := regexp.Compile(expr)
	if err != nil {
		f := app.Errorf(app.Invalid, app.ReasonInvalidArgument, name, "grep: %v", err)
		f.Violations = []app.Violation{{Field: "grep", Message: err.Error()}}
		return nil, f
	}
	return grep, nil
}

// lets tells whether a line, as it is shown, is let through.
func (r *reader) lets(line []byte) bool {
	if r.grep == nil {
		return true
	}
	text := bytes.TrimSuffix(line, []byte{'\n'})
	return r.grep.Match(bytes.TrimSuffix(text, []byte{'\r'}))
}
