package archtest

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestParity holds docs/ancm-parity.md to what is here: each test that it names is a
// test of this repository, and a row without one says why.
func TestParity(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "ancm-parity.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows, faults := parityRows(string(text))
	if len(rows) < 100 {
		t.Fatalf("docs/ancm-parity.md has %d rows: either half of it is gone, or its form has changed and this test reads it no more", len(rows))
	}
	tests := testsOf(parseFiles(t))
	for _, r := range rows {
		faults = append(faults, r.check(tests)...)
	}
	for _, f := range faults {
		t.Errorf("docs/ancm-parity.md:%s", f)
	}
}

// parityRow is a test of the module's, and what became of it here.
type parityRow struct {
	line                      int
	upstream, behaviour, ours string
}

var parityHead = regexp.MustCompile(`^\| upstream test \| behaviour \| ours \|$`)

// parityRows reads the tables that begin with those three columns.
func parityRows(text string) (rows []parityRow, faults []string) {
	in, class, seen := false, "", map[string]bool{}
	for n, line := range strings.Split(text, "\n") {
		title, isTitle := strings.CutPrefix(line, "## ")
		switch {
		case isTitle:
			in, class = false, title
		case parityHead.MatchString(line):
			in = true
		case !in || strings.HasPrefix(line, "|---"):
		case !strings.HasPrefix(line, "|"):
			in = false
		default:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			if len(cells) != 3 {
				faults = append(faults, fmt.Sprintf("%d: %d columns, want three", n+1, len(cells)))
				continue
			}
			r := parityRow{n + 1, strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])}
			if key := class + "\n" + r.upstream; seen[key] {
				faults = append(faults, fmt.Sprintf("%d: %s is listed twice", r.line, r.upstream))
			} else {
				seen[key] = true
			}
			rows = append(rows, r)
		}
	}
	return rows, faults
}

// A test is named as pkg.TestX, or TestX where it is of internal/e2e, either with
// the name of a subtest behind a slash.
var (
	parityTest   = regexp.MustCompile("`(?:([a-z0-9]+)\\.)?((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")
	parityReason = regexp.MustCompile(`^n/a: *(.*)$`)
)

// check returns a sentence for everything that is wrong with the row.
func (r parityRow) check(tests map[string]testsIn) []string {
	var faults []string
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%d: %s: %s", r.line, r.upstream, fmt.Sprintf(format, args...)))
	}
	if r.upstream == "" || r.behaviour == "" {
		fault("a row needs a name and what it is about")
	}
	named := parityTest.FindAllStringSubmatch(r.ours, -1)
	for _, m := range named {
		pkg, name, sub := m[1], m[2], m[3]
		if pkg == "" {
			pkg = "e2e"
		}
		runs, ok := tests[pkg].runs[name]
		switch {
		case !ok:
			fault("there is no %s in package %s", name, pkg)
		case !runs:
			fault("%s does nothing but skip", name)
		case sub != "" && !tests[pkg].has(sub):
			fault("%s has no subtest %s", name, sub)
		}
	}
	if reason := parityReason.FindStringSubmatch(r.ours); reason != nil {
		if len(strings.Fields(parityTest.ReplaceAllString(reason[1], ""))) < 3 {
			fault("says that it cannot apply, and not why")
		}
	} else if len(named) == 0 {
		fault("names no test of ours: name one, or say `n/a:` and why it cannot apply")
	}
	return faults
}

// testsIn are those of the packages with one name.
type testsIn struct {
	runs     map[string]bool // by name; false where all it does is to skip
	literals map[string]bool // of their files: subtests are named by some
}

// has tells whether a subtest can have the name, which is an identifier's
// where its literal has spaces, or a script's in testdata.
func (p testsIn) has(sub string) bool {
	for part := range strings.SplitSeq(sub, "/") {
		if !p.literals[part] && !p.literals[strings.ReplaceAll(part, "_", " ")] {
			return false
		}
	}
	return true
}

// testsOf finds the tests in files, by the name of their folder.
func testsOf(files []file) map[string]testsIn {
	tests := map[string]testsIn{}
	for _, f := range files {
		if !f.isTest() {
			continue
		}
		pkg := path.Base(path.Dir(f.path))
		if tests[pkg].runs == nil {
			tests[pkg] = testsIn{map[string]bool{}, map[string]bool{}}
			scripts, _ := filepath.Glob(filepath.Join(root, path.Dir(f.path), "testdata", "*.txtar"))
			for _, s := range scripts {
				tests[pkg].literals[strings.TrimSuffix(filepath.Base(s), ".txtar")] = true
			}
		}
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && regexp.MustCompile(`^(Test|Fuzz)[A-Z]`).MatchString(fn.Name.Name) {
				tests[pkg].runs[fn.Name.Name] = !skips(fn.Body)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					tests[pkg].literals[s] = true
				}
			}
			return true
		})
	}
	return tests
}

// skips tells whether a function begins with a skip, whatever the case.
func skips(body *ast.BlockStmt) bool {
	for _, s := range body.List {
		expr, ok := s.(*ast.ExprStmt)
		if !ok {
			return false
		}
		call, ok := expr.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && strings.HasPrefix(sel.Sel.Name, "Skip") {
			return true
		}
	}
	return false
}

func TestParity_CheckFindsWhatIsWrong(t *testing.T) {
	tests := testsOf([]file{
		parse(t, "internal/e2e/x_test.go", "package e2e\nfunc TestA(t *testing.T) { t.Run(\"one two\", nil) }\nfunc TestSkipped(t *testing.T) { t.Parallel(); t.Skip(\"x\") }\nfunc Testify() {}"),
		parse(t, "proxy/internal/forward/y_test.go", "package forward\nfunc FuzzB(f *testing.F) {}"),
	})
	ok := []string{"`TestA`", "`TestA/one_two`", "`TestA`, and not 502 but 504; `forward.FuzzB`", "n/a: it is of the CLR", "n/a: the app's own business; beside it `TestA`"}
	for _, ours := range ok {
		if got := (parityRow{1, "X", "does", ours}).check(tests); len(got) > 0 {
			t.Errorf("%s: %q", ours, got)
		}
	}
	bad := []string{"", "n/a:", "n/a: no", "n/a: `TestA`", "TestA", "`TestB`", "`forward.TestA`", "`FuzzB`", "`TestA/two`", "`TestSkipped`", "`Testify`", "later"}
	for _, ours := range bad {
		if got := (parityRow{1, "X", "does", ours}).check(tests); len(got) == 0 {
			t.Errorf("%q passes", ours)
		}
	}
	rows, faults := parityRows("# T\n| a | b | c |\n|---|---|---|\n| not | a | row |\n\n## One\n| upstream test | behaviour | ours |\n|---|---|---|\n| X | does | `TestA` |\n| X | does | `TestA` |\n| Y | does |\n\n## Two\n| upstream test | behaviour | ours |\n|---|---|---|\n| X | does | `TestA` |\n")
	if len(rows) != 3 || len(faults) != 2 {
		t.Errorf("rows %v, faults %q", rows, faults)
	}
}
