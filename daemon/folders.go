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
	_, err := os.Stat(dir)
	existed := err == nil
	if err := makeDir(dir, mode); err != nil {
		return fmt.Errorf("--log-dir: %w", err)
	}
	if existed || gid < 0 {
		return nil
	}
	return os.Chown(dir, -1, gid)
}

func folderMode(uid int) fs.FileMode {
	if uid == 0 {
		return passMode
	}
	return privateMode
}

// makeDir makes a folder with exactly a mode. One that is there stays as it is.
func makeDir(dir string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a folder", dir)
		}
		return err
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, mode) // whatever the umask
}
