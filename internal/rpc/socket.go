package rpc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	systemSocket = "/run/roost/roostd.sock"
	socketName   = "roostd.sock"
	// maxSocketPath is what sockaddr_un.sun_path holds beside its final zero byte (unix(7)).
	maxSocketPath = 107
)

// Sockets says where a user's daemon has its socket when nobody names one.
type Sockets struct {
	UID        int
	RuntimeDir string // $XDG_RUNTIME_DIR, may be empty
}

// Listen is where a daemon of this user listens.
func (s Sockets) Listen() string {
	switch {
	case s.UID == 0:
		return systemSocket
	case s.RuntimeDir != "":
		return s.inRuntimeDir()
	default:
		return filepath.Join(s.tempDir(), socketName)
	}
}

// Dial is where a client of this user finds a daemon: the user's own if there is
// one, else the system's. Without any it is where the user's own would be, so
// that an error names that.
func (s Sockets) Dial() string {
	if s.RuntimeDir != "" && isSocket(s.inRuntimeDir()) {
		return s.inRuntimeDir()
	}
	// Anyone may make a folder of this name in /tmp, and pose as the daemon in it.
	if socket := filepath.Join(s.tempDir(), socketName); isPrivateDir(s.tempDir(), s.UID) && isSocket(socket) {
		return socket
	}
	if isSocket(systemSocket) {
		return systemSocket
	}
	return s.Listen()
}

func (s Sockets) inRuntimeDir() string { return filepath.Join(s.RuntimeDir, "roost", socketName) }
func (s Sockets) tempDir() string      { return fmt.Sprintf("/tmp/roost-%d", s.UID) }

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}

// isPrivateDir reports whether path is a folder that only uid can write to or look into.
func isPrivateDir(path string, uid int) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == uid
}

// SocketPath returns the path in a daemon address: unix:///path, unix:path, or the path alone.
func SocketPath(target string) (string, error) {
	path, ok := strings.CutPrefix(target, "unix://")
	if !ok {
		path, ok = strings.CutPrefix(target, "unix:")
	}
	if !ok && (!strings.Contains(target, "/") || strings.Contains(target, "://")) {
		return "", fmt.Errorf("daemon address %q: want unix:///path/to/roostd.sock", target)
	}
	switch {
	case path == "":
		return "", fmt.Errorf("daemon address %q: it has no path: want unix:///path/to/roostd.sock", target)
	case len(path) > maxSocketPath:
		return "", fmt.Errorf("socket %s: its path has %d bytes and the kernel allows %d: use a shorter one", path, len(path), maxSocketPath)
	}
	return path, nil
}
