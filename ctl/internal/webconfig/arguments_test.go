package webconfig

import (
	"slices"
	"strings"
	"testing"
)

// quoteArgument writes an argument so that splitArguments gives it back.
func quoteArgument(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n\r\"") {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	slashes := 0
	for i := range len(s) {
		switch s[i] {
		case '\\':
			slashes++
		case '"':
			b.WriteString(strings.Repeat(`\`, slashes+1))
			slashes = 0
		default:
			slashes = 0
		}
		b.WriteByte(s[i])
	}
	b.WriteString(strings.Repeat(`\`, slashes))
	b.WriteByte('"')
	return b.String()
}

func TestSplitArguments(t *testing.T) {
	for line, want := range map[string][]string{
		``:                    nil,
		`  `:                  nil,
		`a b`:                 {"a", "b"},
		" a\t b\r\nc ":        {"a", "b", "c"},
		`"a b" c`:             {"a b", "c"},
		`a"b c"d`:             {"ab cd"},
		`""`:                  {""},
		`a "" b`:              {"a", "", "b"},
		`"a b`:                {"a b"}, // Windows closes it at the end
		`a\b\\c`:              {`a\b\\c`},
		`"C:\Program Files\"`: {`C:\Program Files"`},
		`"C:\a b\\" c`:        {`C:\a b\`, "c"},
		`\"a\"`:               {`"a"`},
		`a\\"b c"`:            {`a\b c`},
		`a\\\"b c`:            {`a\"b`, "c"},
		`a\\\\"b c" d`:        {`a\\b c`, "d"},
		`"a""b" c`:            {`a"b`, "c"},
		`"a"" b`:              {`a" b`},
		`""""`:                {`"`},
		`--x='a b'`:           {"--x='a", "b'"}, // no quotes of Windows
		`.\App.dll --n "é ü"`: {`.\App.dll`, "--n", "é ü"},
	} {
		if got := splitArguments(line); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func FuzzSplitArguments(f *testing.F) {
	for _, s := range []string{`a b`, `"a\\" \"b`, `""""`, `\`, `a\\\"b c" "`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := splitArguments(line)
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = quoteArgument(w)
		}
		if again := splitArguments(strings.Join(quoted, " ")); !slices.Equal(again, words) {
			t.Fatalf("%q is %q, and quoted again %q", line, words, again)
		}
		// Nothing is made up: what is not a quote, a backslash or a blank is there, in order.
		plain := strings.NewReplacer(`"`, "", `\`, "", " ", "", "\t", "", "\r", "", "\n", "").Replace
		if got := plain(strings.Join(words, "")); got != plain(line) {
			t.Fatalf("%q became %q", line, words)
		}
	})
}
