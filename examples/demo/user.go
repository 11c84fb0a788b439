package main

import (
	"os"
	"os/user"
	"path/filepath"
)

// appUser is who a root daemon runs apps as, where that account exists.
const appUser = "roost-app"

// unreachable returns what appUser would need and cannot get to, as a checkout
// below /root, or "" where all is well or there is no such user.
func (d *demo) unreachable(apps *manifest) string {
	if _, err := user.Lookup(appUser); err != nil {
		return ""
	}
	for _, path := range append(apps.programs(), d.examples, d.bin) {
		if !openToAll(path) {
			return path
		}
	}
	return ""
}

// openToAll reports whether every user may pass through all folders on the way to path.
func openToAll(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if path == "/" {
			return true
		}
	}
}
