package logs

import (
	"strings"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestRead_NeverShowsTheToken(t *testing.T) {
	t.Run("known", func(t *testing.T) { testNeverShows(t, true) })
	t.Run("unknown", func(t *testing.T) { testNeverShows(t, false) })
}

func testNeverShows(t *testing.T, known bool) {
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
			s.cfg.Token = func(string) (string, bool) { return token, known }
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
			want := strings.ReplaceAll(whole, token, app.Redacted)
			if !known {
				want = strings.ReplaceAll(want, app.Redacted+app.Redacted, app.Redacted)
			}
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

// The token of a new instance comes with the answer to its launch, which its
// first output may overtake.
func TestRead_TheTokenBecomesKnown(t *testing.T) {
	const sum = "d41d8cd98f00b204e9800998ecf8427e" // looks like one
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, token+" "+sum+"\n")
	s := d.store()
	known := false
	s.cfg.Token = func(string) (string, bool) { return token, known }
	first := read(t, s, Query{})
	if got := text(first); got != "*** ***\n" {
		t.Errorf("unknown: %q", got)
	}
	known = true
	if got := text(read(t, s, Query{})); got != "*** "+sum+"\n" {
		t.Errorf("known: %q", got)
	}
}

func TestSecret_UnknownHidesNoMoreThanItMust(t *testing.T) {
	const words = "deadbeef 0123456789 2026-11-23 8f14e45f-ceea-467a-9575-1b1e2f5f7a3c ABCDEF0123456789ABCDEF0123456789\n"
	if got := string(secretOf("", false).hide([]byte(words), false)); got != words {
		t.Errorf("got %q", got)
	}
	if got := string(secretOf("", true).hide([]byte(token), true)); got != token {
		t.Errorf("an instance that has none: %q", got)
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
