package cli

import (
	"slices"
	"strings"
)

func stubDaemon() {}
func stubProxy()  {}

func containsAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}
