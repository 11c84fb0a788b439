package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the module's root, seen from this package's folder, where go test runs.
const root = "../.."

// goList is the part of `go list -json` that the rules need.
var goList = sync.OnceValues(func() ([]pkg, error) {
	// -e: a package that does not build is not this test's business.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, err
		}
		pkgs = append(pkgs, pkg{Path: short(p.ImportPath), Imports: shorten(p.Imports), Deps: shorten(p.Deps)})
	}
})

func short(importPath string) string { return strings.TrimPrefix(importPath, module) }

func shorten(importPaths []string) []string {
	for i, p := range importPaths {
		importPaths[i] = short(p)
	}
	return importPaths
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	pkgs, err := goList()
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no packages: nothing would be checked")
	}
	return pkgs
}

// parseFiles returns every Go file of the module, tests included.
func parseFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files = append(files, parse(t, filepath.ToSlash(rel), ""))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
