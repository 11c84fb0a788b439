package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// use limits which files may use some packages or names of packages. Tests may use all.
type use struct {
	imports []string // import paths: importing is the use
	names   []string // "import/path.Name"
	allowed []string // files, as path.Match patterns or "folder/..."
	reason  string
}

var uses = []use{
	{
		imports: []string{"flag"},
		names: []string{
			"os.Args", "os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "os.Setenv", "os.Unsetenv", "os.Clearenv",
			"os.TempDir", "os.UserHomeDir", "os.UserConfigDir", "os.UserCacheDir",
			"syscall.Getenv", "syscall.Environ", "syscall.Setenv", "golang.org/x/sys/unix.Getenv", "golang.org/x/sys/unix.Environ",
		},
		allowed: []string{"*/main.go", "*/*/main.go", "internal/e2e/...", "daemon/internal/keeper/keepertest/..."},
		reason:  "only a main.go reads flags, environment and arguments, and hands them on as values: so a program can be run in a test, twice, with others",
	}, {
		imports: []string{"github.com/spf13/cobra", "github.com/spf13/pflag"},
		allowed: []string{"*/main.go", "ctl/internal/cli/..."},
		reason:  "the command line is read by a main.go, and in ctl by cli",
	}, {
		imports: []string{"os/exec"},
		names: []string{
			"os.StartProcess", "syscall.StartProcess", "syscall.ForkExec", "syscall.Exec", "golang.org/x/sys/unix.Exec",
		},
		allowed: []string{
			"daemon/internal/keeper/...", // the one parent of every instance
			"daemon/*.go",                // starts the keeper
			"daemon/exec/*.go",           // becomes the app
			"ctl/internal/cli/up*.go",    // daemon and proxy in one terminal
			"internal/e2e/...",
			"examples/demo/*.go",
		},
		reason: "only the keeper starts processes: a child of anything else dies, or is lost, with it",
	}, {
		imports: []string{"log", "expvar"},
		allowed: []string{"examples/...", "internal/e2e/..."},
		reason:  "log through the hclog.Logger you were given: nothing global",
	},
}

func TestUses(t *testing.T) {
	for _, f := range parseFiles(t) {
		for _, u := range uses {
			for _, fault := range u.check(f) {
				t.Error(fault)
			}
		}
	}
}

// check returns a sentence for everything in f that it may not use.
func (u use) check(f file) []string {
	if f.isTest() || matchAny(u.allowed, f.path) {
		return nil
	}
	var faults []string
	fault := func(at token.Pos, what string) {
		faults = append(faults, fmt.Sprintf("%s:%d uses %s: %s", f.path, f.fset.Position(at).Line, what, u.reason))
	}
	imported := map[string]string{} // local name to import path
	for _, spec := range f.syntax.Imports {
		imp := importPath(spec)
		if slices.Contains(u.imports, imp) {
			fault(spec.Pos(), imp)
		}
		imported[localName(spec)] = imp
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok {
			if name := imported[id.Name] + "." + sel.Sel.Name; slices.Contains(u.names, name) {
				fault(sel.Pos(), name)
			}
		}
		return true
	})
	return faults
}

// In a synctest bubble Sleep lets the bubble's time pass, and in a loop it is the
// pause of a poll. Anything else is a guess about how long something takes, which
// fails on a slow day.
func TestTests_SleepOnlyInSynctestOrAPoll(t *testing.T) {
	for _, f := range parseFiles(t) {
		if !f.isTest() || f.imports("testing/synctest") {
			continue
		}
		for _, at := range sleepsOutsideLoops(f.syntax) {
			t.Errorf("%s:%d sleeps: wait for what you wait for, a channel or a polled condition with a deadline, or use synctest's clock", f.path, f.fset.Position(at).Line)
		}
	}
}

// sleepsOutsideLoops returns where n calls time.Sleep, but not those inside a for statement.
func sleepsOutsideLoops(n ast.Node) []token.Pos {
	var found []token.Pos
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt, *ast.RangeStmt:
			return false
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && id.Name == "time" && n.Sel.Name == "Sleep" {
				found = append(found, n.Pos())
			}
		}
		return true
	})
	return found
}

func TestSleepsOutsideLoops_FindsOnlyThose(t *testing.T) {
	f := parse(t, "x_test.go", `package x
import "time"
func f() { for { time.Sleep(1) } }
func g() { time.Sleep(1) }
`)
	if got := sleepsOutsideLoops(f.syntax); len(got) != 1 || f.fset.Position(got[0]).Line != 4 {
		t.Errorf("found %v, want only line 4", got)
	}
}

func TestPackages_HaveOneDoc(t *testing.T) {
	docs := map[string][]string{} // folder to its files with a package comment
	for _, f := range parseFiles(t) {
		dir := filepath.Dir(f.path)
		if f.isTest() || matchAny([]string{"gen/..."}, dir) {
			continue
		}
		files := docs[dir]
		if f.syntax.Doc != nil {
			files = append(files, filepath.Base(f.path))
		}
		docs[dir] = files
	}
	for dir, files := range docs {
		if len(files) == 0 {
			t.Errorf("%s has no package comment: say what it is for, and what it leaves to others", dir)
		}
		if len(files) > 1 {
			t.Errorf("%s has package comments in %s: keep one", dir, strings.Join(files, " and "))
		}
	}
}

func TestUse_CheckFindsWhatItForbids(t *testing.T) {
	const source = `package x
import (
	"os"
	run "os/exec"
)
var _ = os.Args
var _ = run.Command("x")
var _ = struct{ Args int }{}.Args
`
	u := use{imports: []string{"os/exec"}, names: []string{"os.Args"}, allowed: []string{"ok/...", "z/*.go"}}
	for path, want := range map[string]int{"x/y.go": 2, "z/y/y.go": 2, "ok/y/z.go": 0, "z/y.go": 0, "x/y_test.go": 0} {
		if got := u.check(parse(t, path, source)); len(got) != want {
			t.Errorf("%s: faults %q, want %d", path, got, want)
		}
	}
}

// file is a Go file of this module, its path relative to the module's root.
type file struct {
	path   string
	fset   *token.FileSet
	syntax *ast.File
}

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f file) imports(path string) bool {
	return slices.ContainsFunc(f.syntax.Imports, func(s *ast.ImportSpec) bool { return importPath(s) == path })
}

// parse parses source, or where that is empty the file at path.
func parse(t *testing.T, path, source string) file {
	t.Helper()
	fset := token.NewFileSet()
	name, src := path, any(source)
	if source == "" {
		name, src = filepath.Join(root, path), nil
	}
	syntax, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file{path: path, fset: fset, syntax: syntax}
}

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	return p
}

func localName(spec *ast.ImportSpec) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	p := importPath(spec)
	return p[strings.LastIndex(p, "/")+1:]
}
