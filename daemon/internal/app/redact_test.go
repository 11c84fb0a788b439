package app

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	const token = "0123456789abcdef0fedcba987654321"
	for text, want := range map[string]string{
		"":                                     "",
		"nothing 0123456 of it":                "nothing 0123456 of it",
		token:                                  "***",
		"a " + token + " b":                    "a *** b",
		token + token:                          "******",
		"cut at its end " + token[:20]:         "cut at its end ***",
		token[20:] + " cut at its beginning":   "*** cut at its beginning",
		"cut at both " + token[5:25] + " ends": "cut at both *** ends",
	} {
		if got := Redact(text, token); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
	if got := Redact("a text", ""); got != "a text" {
		t.Errorf("without a token: %q", got)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("a 0123456789abcdef0fedcba987654321 b", uint(3), uint(40))
	f.Fuzz(func(t *testing.T, text string, from, to uint) {
		const token = "0123456789abcdef0fedcba987654321"
		text = text[min(from, uint(len(text))):] + token[:min(to, uint(len(token)))]
		got := Redact(text, token)
		for i := range len(token) - tokenHint + 1 {
			if strings.Contains(got, token[i:i+tokenHint]) {
				t.Fatalf("Redact(%q) = %q holds %q", text, got, token[i:i+tokenHint])
			}
		}
	})
}
