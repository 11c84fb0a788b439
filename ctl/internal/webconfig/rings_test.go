package webconfig

import (
	"fmt"
	"strings"
	"testing"

	"github.com/roostd/roost/ctl/internal/manifest"
)

func TestRead_ALongChainOfVariablesIsNoRing(t *testing.T) {
	const n = 2000 // a walk for each would take minutes
	var chain strings.Builder
	for i := range n {
		chain.WriteString(variable1(fmt.Sprintf("V%d", i), fmt.Sprintf("%%V%d%%", i+1)) + "\n")
	}
	text := func(last string) string {
		return app("", "<environmentVariables>"+chain.String()+variable1(fmt.Sprintf("V%d", n), last)+"</environmentVariables>")
	}
	spec, faults := imported(t, source(text("end"), published()))
	if len(faults) > 0 || spec.GetEnv()["V7"] != "${V8}" {
		t.Errorf("V7=%q, faults %v", spec.GetEnv()["V7"], faults)
	}
	faults = refused(t, source(text("%v0%"), published()))
	if len(faults) != maxFaults+1 {
		t.Errorf("%d faults, want one for each of the ring's %d, up to the most that are told", len(faults), n+1)
	}
}

func TestRead_ARingBehindAnUnknownVariableIsFound(t *testing.T) {
	text := app("", "<environmentVariables>"+variable1("A", "%x%B%")+variable1("B", "%A%")+variable1("C", "%B%")+"</environmentVariables>")
	spec, faults := imported(t, source(text, published(), "unresolved"))
	for _, want := range []string{"%x%", "%B%", "%A%"} {
		wantFault(t, faults, manifest.Warning, want+" is a variable of the old machine")
	}
	if env := spec.GetEnv(); env["A"] != "%x%B%" || env["B"] != "%A%" || env["C"] != "${B}" {
		t.Errorf("env %q", env)
	}
}

// A file that is one long line of faults is told of in the time and memory that its
// size takes, not its square; what is told is right all the same.
func TestRead_ManyFaultsOnOneLine(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		b.WriteString(variable1(fmt.Sprintf("Ä%d", i), "#{x}"))
	}
	faults := refused(t, source(app("", "<environmentVariables>"+b.String()+"</environmentVariables>"), published()))
	if len(faults) != maxFaults+1 {
		t.Fatalf("%d faults, want %d", len(faults), maxFaults+1)
	}
	for _, f := range faults[:maxFaults] {
		excerpt := strings.SplitN(f.Excerpt(), "\n", 2)
		if caret := strings.IndexByte(excerpt[1], '^'); len(excerpt[0]) > 500 || caret < 0 || caret >= len([]rune(excerpt[0])) {
			t.Fatalf("%v is shown as %q", f, excerpt)
		}
	}
}
