package manifest

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSplitCommand(t *testing.T) {
	for line, want := range map[string][]string{
		"":                         nil,
		"  \t\n":                   nil,
		"node server.js":           {"node", "server.js"},
		`a '' ""`:                  {"a", "", ""},
		`sh -c "echo \"$X\" \n"`:   {"sh", "-c", `echo "$X" \n`},
		`a'b c'd"e f"`:             {"ab cde f"},
		`'it'\''s'`:                {"it's"},
		"a \\\n b":                 {"a", "b"},
		`--port=${PORT} *.js # ~x`: {"--port=${PORT}", "*.js", "#", "~x"},
		`"a\$b\x"`:                 {`a$b\x`},
		`x A=1`:                    {"x", "A=1"},
	} {
		if got, err := splitCommand(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`a "b`, `a 'b`, `a \`, "a && b", "a | b", "a > b", "a; b", "a &", "`a`", "(a)", "A=1 b"} {
		if got, err := splitCommand(line); err == nil {
			t.Errorf("%q: %q, want an error", line, got)
		}
	}
}

// Whatever the words are, quoted they come back.
func TestSplitCommand_UndoesQuotes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.String()).Draw(t, "words")
		var line []string
		for _, w := range words {
			line = append(line, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		got, err := splitCommand(strings.Join(line, " "))
		if err != nil && len(words) > 0 && assignment.MatchString(words[0]) {
			return
		}
		if err != nil || !slices.Equal(got, words) {
			t.Fatalf("%q, %v, want %q", got, err, words)
		}
	})
}

func FuzzSplitCommand(f *testing.F) {
	for _, s := range []string{`a 'b' "c\"d" \e`, `"`, `\`, "a\\\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitCommand(line)
		if n := len(strings.Join(words, "")); err == nil && n > len(line) {
			t.Errorf("%q: %d bytes of words from %d", line, n, len(line))
		}
	})
}
