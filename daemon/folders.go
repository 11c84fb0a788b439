package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The modes of the daemon's folders. Other users must get through root's to what
// is theirs: an app to its home, a client to the socket.
const (
	passMode    = 0o711
	privateMode = 0o700
	logMode     = 0o750 // with the group of the operators
)

// makeStateDir makes the state dir, or accepts one that nobody else can change.
func makeStateDir(dir string, uid int) error {
	if err := makeDir(dir, folderMode(uid)); err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	switch owner := info.Sys().(*syscall.Stat_t).Uid; {
	case int(owner) != uid:
		return fmt.Errorf("--state-dir %s belongs to uid %d and roostd runs as uid %d: name another folder", dir, owner, uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("--state-dir %s can be changed by others (mode %04o): chmod go-w it", dir, info.Mode().Perm())
	}
	return nil
}

// makeSocketDir makes the folder of the socket, or accepts one where nobody else
// can put a socket of the same name.
func makeSocketDir(dir string, uid int) error {
	if err := makeDir(dir, folderMode(uid)); err != nil {
		return fmt.Errorf("--socket: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != 0 && int(owner) != uid {
		return fmt.Errorf("--socket: its folder %s belongs to uid %d: name another one", dir, owner)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("--socket: everybody can change its folder %s: chmod o-w it, or name another one", dir)
	}
	return nil
}

// makeLogDir makes the folder of what apps write, for the group gid to read where
// that is not negative.
func makeLogDir(dir string, gid int) error {
	mode := fs.FileMode(privateMode)
	if gid >= 0 {
		mode = logMode
	}
	ours, err := makeOurs(dir, mode)
	if err == nil && ours && gid >= 0 {
		err = os.Chown(dir, -1, gid)
	}
	if err != nil {
		return fmt.Errorf("--log-dir: %w", err)
	}
	return nil
}

func folderMode(uid int) fs.FileMode {
	if uid == 0 {
		return passMode
	}
	return privateMode
}

func makeDir(dir string, mode fs.FileMode) error {
	_, err := makeOurs(dir, mode)
	return err
}

// makeOurs makes a folder with exactly a mode, and gives it to one that is there
// and empty, as service managers make them. One that is in use, or that everybody
// shares as /tmp, stays as it is.
func makeOurs(dir string, mode fs.FileMode) (ours bool, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return false, err
	}
	err = os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		ours, err = unused(dir)
		if err != nil || !ours {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	return true, os.Chmod(dir, mode) // whatever the umask
}

// unused tells whether a folder is there for us alone.
func unused(dir string) (bool, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return false, fmt.Errorf("%s is not a folder", dir)
	}
	if info.Mode()&fs.ModeSticky != 0 || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return false, nil
	}
	entries, err := os.ReadDir(dir)
	return len(entries) == 0, err
}
