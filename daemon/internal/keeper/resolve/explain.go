package resolve

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ExplainExec says why the kernel would not execute a program that is there.
func ExplainExec(path string, errno syscall.Errno, id Identity) string {
	switch {
	case errors.Is(errno, syscall.ENOENT):
		return explainMissing(path)
	case errors.Is(errno, syscall.ENOEXEC):
		return fmt.Sprintf("command %s is no program that this machine can run: it has no #! line, or it was built for another processor", path)
	case errors.Is(errno, syscall.EACCES):
		return fmt.Sprintf("command %s: user %s may not execute it: check its permissions, those of the folders above it and of its interpreter, and noexec mounts", path, id.Name)
	case errors.Is(errno, syscall.E2BIG):
		return fmt.Sprintf("command %s: its arguments and environment are larger than the kernel allows", path)
	case errors.Is(errno, syscall.EAGAIN):
		return fmt.Sprintf("command %s: user %s has as many processes as it may have: raise the limit (ulimit -u) of roostd, or end some", path, id.Name)
	case errors.Is(errno, syscall.ETXTBSY):
		return fmt.Sprintf("command %s is being written to: wait until it is copied", path)
	}
	return fmt.Sprintf("command %s: %v", path, errno)
}

// explainMissing is for ENOENT: either the program went away, or what it needs to
// be run is missing.
func explainMissing(path string) string {
	head, err := readHead(path)
	if err != nil {
		return fmt.Sprintf("command %s does not exist: name an existing program", path)
	}
	if line, ok := strings.CutPrefix(head, "#!"); ok {
		line, _, _ = strings.Cut(line, "\n")
		if interpreter, found := strings.CutSuffix(line, "\r"); found {
			return fmt.Sprintf("command %s: its first line ends with a carriage return, so its interpreter %q is not found: save it with Unix line ends", path, strings.TrimSpace(interpreter)+"\r")
		}
		if fields := strings.Fields(line); len(fields) > 0 {
			return fmt.Sprintf("command %s: its first line names the interpreter %s, which does not exist: install it, or correct the line", path, fields[0])
		}
	}
	if strings.HasPrefix(head, "\x7fELF") {
		return fmt.Sprintf("command %s: the loader it was linked for does not exist here: it was built for another Linux (glibc or musl)", path)
	}
	return fmt.Sprintf("command %s: a part that it needs does not exist", path)
}

func readHead(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, 256)
	n, err := io.ReadFull(f, buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	return string(buf[:n]), nil
}

// ExplainDir says why a folder cannot be an app's.
func ExplainDir(dir string, err error, id Identity) string {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return fmt.Sprintf("dir %s does not exist: create it, or name another", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Sprintf("dir %s is no folder: name one", dir)
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("dir %s: user %s may not enter it: check its permissions and those above it", dir, id.Name)
	case errors.Is(err, syscall.ELOOP):
		return fmt.Sprintf("dir %s: its links lead round in a circle", dir)
	}
	return fmt.Sprintf("dir %s: %v", dir, err)
}

// Dir returns dir with its links resolved; it must be a folder.
func Dir(dir string) (string, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", errors.New(ExplainDir(dir, err, Identity{}))
	}
	info, err := os.Stat(resolved)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return "", errors.New(ExplainDir(dir, err, Identity{}))
	}
	return resolved, nil
}
