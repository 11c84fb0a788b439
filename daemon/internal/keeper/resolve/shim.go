package resolve

import (
	"os"
	"path/filepath"
	"strings"
)

// A shim of pyenv or rbenv is a shell script that asks a larger shell script
// which version is meant, at every start: the shim alone makes python start three
// times slower. The question can be answered by reading the files it reads.

// shimKind is one of the two tools.
type shimKind struct {
	variable string // names the version
	file     string // likewise, in the folder or above it
	command  string // in each shim
}

var shimKinds = []shimKind{
	{"PYENV_VERSION", ".python-version", "pyenv"},
	{"RBENV_VERSION", ".ruby-version", "rbenv"},
}

// unshim returns the program behind a shim; false where path is none, or where
// only the tool itself can tell.
func unshim(path, dir string, env map[string]string) (string, bool) {
	shims := filepath.Dir(path)
	if filepath.Base(shims) != "shims" {
		return "", false
	}
	root, name := filepath.Dir(shims), filepath.Base(path)
	for _, kind := range shimKinds {
		if !kind.made(path) {
			continue
		}
		for _, version := range kind.versions(root, dir, env) {
			if version == "system" || strings.Contains(version, "/") {
				return "", false
			}
			file := filepath.Join(root, "versions", version, "bin", name)
			if checkProgram(file) == nil {
				return file, true
			}
		}
	}
	return "", false
}

// made tells whether a file is a shim of this tool.
func (k shimKind) made(path string) bool {
	data, err := readRegular(path)
	return err == nil && strings.HasPrefix(data, "#!") && strings.Contains(data, k.command) && strings.Contains(data, " exec ")
}

// versions returns the wanted versions, in the order that the tool tries them.
func (k shimKind) versions(root, dir string, env map[string]string) []string {
	if v := env[k.variable]; v != "" {
		return strings.Split(v, ":")
	}
	for d := dir; ; d = filepath.Dir(d) {
		if list := versionFile(filepath.Join(d, k.file)); len(list) > 0 {
			return list
		}
		if d == filepath.Dir(d) {
			return versionFile(filepath.Join(root, "version"))
		}
	}
}

func versionFile(path string) []string {
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	data, err := readRegular(path)
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(data) {
		line, _, _ = strings.Cut(line, "#")
		list = append(list, strings.Fields(line)...)
	}
	return list
}
