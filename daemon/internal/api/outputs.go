package api

import (
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// listedOutput is how many bytes of apps' output one list holds. Where very many fail
// at once, as when what they all need is away, the list must still be less than the
// 4 MiB that clients take by default; who asks for one of them gets its output.
const listedOutput = 2 << 20

// outputs counts down what a list may still hold of output.
type outputs int

// take returns a text as long as there is room for it, then its first line.
func (left *outputs) take(text string) string {
	if len(text) > int(*left) {
		text, _, _ = strings.Cut(text, "\n")
		return text
	}
	*left -= outputs(len(text))
	return text
}

// bound cuts what an app shows of output.
func (left *outputs) bound(a *roostv1.App) {
	for _, c := range a.GetConditions() {
		c.Message = left.take(c.GetMessage())
	}
	if r := a.GetRollout(); r != nil {
		r.Output = left.take(r.GetOutput())
	}
}
