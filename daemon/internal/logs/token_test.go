package logs

import (
	"strings"
	"testing"
)

func TestRead_NeverShowsTheToken(t *testing.T) {
	for name, batches := range map[string][]string{
		"in a line":       {"a " + token + " b\n"},
		"over batches":    {"a " + token[:10], token[10:20], token[20:] + " b\n"},
		"twice":           {token + token + "\n"},
		"at a part's end": {strings.Repeat("x", longestLine-10) + token + "\n"},
		"behind a part":   {strings.Repeat("x", longestLine) + token + "\n"},
		"in a long line":  {strings.Repeat("x", longestLine-32) + token + strings.Repeat("y", longestLine) + token},
		"cut at the end":  {"a " + token[:31]},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t.TempDir())
			s := d.store()
			s.quiet = 0
			var seen strings.Builder
			cursor := ""
			for i, b := range batches {
				d.write(t, "i1", Stdout, b)
				if i == len(batches)-1 {
					d.end("i1")
				}
				for _, e := range read(t, s, Query{Cursor: cursor}) {
					seen.Write(e.Data)
					cursor = e.Cursor
				}
			}
			whole := strings.Join(batches, "")
			want := strings.ReplaceAll(whole, token, redacted)
			if name == "cut at the end" {
				want = "a ***"
			}
			if seen.String() != want {
				t.Errorf("got %q, want %q", seen.String(), want)
			}
			if tail := s.OutputTail("web", "i1", 1<<20); tail != want {
				t.Errorf("output tail %q, want %q", tail, want)
			}
			for most := range 60 {
				if tail := s.OutputTail("web", "i1", most); len(tail) > most || strings.Contains(whole, token) && leaks(tail) {
					t.Errorf("output tail of %d: %q", most, tail)
				}
			}
			for n := range 3 {
				if got := text(read(t, s, Query{Tail: &n})); leaks(got) {
					t.Errorf("tail %d: %q", n, got)
				}
			}
		})
	}
}

// leaks tells whether text has a good part of the token.
func leaks(text string) bool {
	for i := range len(token) - secretHint {
		if strings.Contains(text, token[i:i+secretHint+1]) {
			return true
		}
	}
	return false
}
