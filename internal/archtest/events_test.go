package archtest

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestEvents_AreAllDocumented keeps docs/events.md to what the daemon records:
// operators filter by these ids.
func TestEvents_AreAllDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	ours, modules, _ := strings.Cut(string(text), "## The events of the ASP.NET Core Module")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\| (?:info|warning|error)").FindAllStringSubmatch(ours, -1) {
		if documented[m[1]] {
			t.Errorf("docs/events.md lists %s twice", m[1])
		}
		documented[m[1]] = true
	}
	ids := eventIDs(t)
	if len(ids) < 30 {
		t.Fatalf("found only %d ids of events in daemon/internal/app: %v", len(ids), ids)
	}
	known := map[string]bool{}
	for _, id := range ids {
		known[id] = true
		if !documented[id] {
			t.Errorf("docs/events.md does not list %s: add a row with its severity, when it happens and its attributes", id)
		}
	}
	for id := range documented {
		if !known[id] {
			t.Errorf("docs/events.md lists %s, which is the id of no event: remove it", id)
		}
	}
	// And what the module's ids are mapped to exists.
	for _, m := range regexp.MustCompile("`([A-Z][a-z]+[A-Z][A-Za-z]+)`").FindAllStringSubmatch(modules, -1) {
		if !known[m[1]] {
			t.Errorf("docs/events.md maps an event of the module to %s, which is none of ours", m[1])
		}
	}
}

// TestEvents_OfTheModuleAreAllMapped holds the page to every id that versions of the
// module have had.
func TestEvents_OfTheModuleAreAllMapped(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	const first, last = 1000, 1036
	rows := map[int]int{}
	for _, m := range regexp.MustCompile(`(?m)^\| (1[0-9]{3}(?:, 1[0-9]{3})*) \| [^|]+ \| [^|]+ \|$`).FindAllStringSubmatch(string(text), -1) {
		for id := range strings.SplitSeq(m[1], ", ") {
			n, err := strconv.Atoi(id)
			if err != nil || n < first || n > last {
				t.Errorf("docs/events.md has a row for %s, which is none of the module's", id)
			}
			rows[n]++
		}
	}
	for id := first; id <= last; id++ {
		if rows[id] != 1 {
			t.Errorf("docs/events.md has %d rows for the module's event %d, want one", rows[id], id)
		}
	}
}

// eventIDs are the values of app's constants of type EventID.
func eventIDs(t *testing.T) []string {
	t.Helper()
	var ids []string
	for _, f := range parseFiles(t) {
		if !strings.HasPrefix(f.path, "daemon/internal/app/") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "EventID" {
				return true
			}
			for _, v := range spec.Values {
				lit, ok := v.(*ast.BasicLit)
				if !ok {
					continue
				}
				id, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
			return true
		})
	}
	return ids
}
