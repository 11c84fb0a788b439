package resolve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
)

// Command is a command line ready to be executed.
type Command struct {
	Path string // of the program, absolute
	Argv []string
}

// Lookup expands ${NAME} in a command line and finds its program: a name with a
// slash is relative to dir, a bare one is looked for on the PATH of env. The
// secret variables do not expand, as every user of the host sees command lines.
func Lookup(argv []string, dir string, env map[string]string, secret []string) (Command, error) {
	expanded := make([]string, len(argv))
	for i, arg := range argv {
		var err error
		if expanded[i], err = expandArg(arg, env, secret); err != nil {
			return Command{}, err
		}
	}
	if len(expanded) == 0 || expanded[0] == "" {
		return Command{}, errors.New("the command is empty: name a program")
	}
	path, err := find(expanded[0], dir, env["PATH"])
	if err != nil {
		return Command{}, err
	}
	if real, ok := unshim(path, dir, env); ok {
		// Programs find their libraries by the name that they are called by.
		path, expanded[0] = real, real
	}
	return Command{Path: path, Argv: expanded}, nil
}

func expandArg(arg string, env map[string]string, secret []string) (string, error) {
	leaked := ""
	s, err := app.Expand(arg, func(name string) (string, bool) {
		if slices.Contains(secret, name) {
			leaked = name
			return "", true
		}
		v, ok := env[name]
		return v, ok
	})
	if leaked != "" {
		return "", &SecretError{leaked}
	}
	return s, err
}

// SecretError is of a secret variable in a command line.
type SecretError struct{ Name string }

func (e *SecretError) Error() string {
	return "${" + e.Name + "} is secret and cannot be part of a command, which every user of the host can see: have the app read its environment"
}

// find returns the program that a name means.
func find(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		file := under(dir, name)
		return file, checkProgram(file)
	}
	var refused error
	for _, folder := range filepath.SplitList(path) {
		file := filepath.Join(under(dir, folder), name)
		err := checkProgram(file)
		if err == nil {
			return file, nil
		}
		if refused == nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoFile) {
			refused = err
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", fmt.Errorf("command %q was not found on the app's PATH (%s): install it, set PATH under env, or name it with its path", name, path)
}

func under(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

var errNoFile = errors.New("it is a directory")

// checkProgram tells why a file cannot be executed, as far as its mode tells.
func checkProgram(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return programError{file, "does not exist: name an existing program", err}
	case err != nil:
		return programError{file, "cannot be looked at", err}
	case info.IsDir():
		return programError{file, "is a directory: name a program", errNoFile}
	case !info.Mode().IsRegular():
		return programError{file, "is no regular file: name a program", errNoFile}
	case info.Mode().Perm()&0o111 == 0:
		return programError{file, "is not executable: chmod +x it, or put its interpreter before it", fs.ErrPermission}
	}
	return nil
}

type programError struct {
	file, why string
	err       error
}

func (e programError) Error() string { return "command " + e.file + " " + e.why }

func (e programError) Unwrap() error { return e.err }
