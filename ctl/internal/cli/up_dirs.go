package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// upFolder is where up keeps its state, below the working folder.
const upFolder = ".roost"

// longestFolder is the longest path of a socket's folder below which the sockets
// of listen.mode unix still fit: sockaddr_un takes 107 bytes (unix(7)), and an
// instance's needs /i/, 16 characters and /s.
const longestFolder = 107 - len("/i/") - 16 - len("/s")

// upDirs are the places of one up.
type upDirs struct {
	logs, daemonState, proxyState, socket string
	temporary                             string // to be removed, where the socket had to go elsewhere
}

func (d upDirs) close() {
	if d.temporary != "" {
		_ = os.RemoveAll(d.temporary)
	}
}

func (p *program) makeUpDirs() (upDirs, error) {
	root := p.path(upFolder)
	d := upDirs{logs: root, daemonState: filepath.Join(root, "state"), proxyState: filepath.Join(root, "proxy"), socket: filepath.Join(root, "roostd.sock")}
	// An app may run as another user than root: it must be able to pass through.
	if err := os.MkdirAll(root, 0o755); err != nil {
		return d, failed(exitFailed, "cannot make %s: %v", root, pathReason(err))
	}
	if err := os.WriteFile(filepath.Join(root, ".gitignore"), []byte("*\n"), 0o644); err != nil {
		return d, failed(exitFailed, "cannot write %s/.gitignore: %v", root, pathReason(err))
	}
	if len(root) <= longestFolder {
		return d, nil
	}
	tmp, err := os.MkdirTemp("/tmp", "roost-up-")
	if err != nil {
		return d, err
	}
	d.temporary, d.socket = tmp, filepath.Join(tmp, "roostd.sock")
	return d, os.Chmod(tmp, 0o711)
}

// findPrograms looks beside this program, then in PATH.
func (s *session) findPrograms() error {
	var err error
	if s.roostd, err = s.find("roostd"); err != nil {
		return err
	}
	s.proxyd, err = s.find("roost-proxy")
	return err
}

func (s *session) find(name string) (string, error) {
	beside := ""
	if s.Executable != "" {
		exe, err := filepath.EvalSymlinks(s.Executable)
		if err != nil {
			exe = s.Executable
		}
		beside = filepath.Dir(exe)
		if path, err := exec.LookPath(filepath.Join(beside, name)); err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", failed(exitFailed, "%s is neither in %s nor in PATH: install it there", name, beside)
}

// childEnv is the environment of daemon and proxy: what sets their flags for
// another daemon on this machine is not meant for these.
func (s *session) childEnv() []string {
	var env []string
	for _, e := range s.Environ {
		if !strings.HasPrefix(e, "ROOSTD_") && !strings.HasPrefix(e, "ROOST_PROXY_") {
			env = append(env, e)
		}
	}
	return env
}
