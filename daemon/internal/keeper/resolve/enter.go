package resolve

import (
	"io/fs"
	"slices"
	"syscall"
)

// mayEnter tells whether an identity has the permission to pass through a folder,
// or to execute a file, as far as its mode tells.
func mayEnter(info fs.FileInfo, id Identity) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	perm := info.Mode().Perm()
	switch {
	case id.UID == 0:
		return info.IsDir() || perm&0o111 != 0
	case int(st.Uid) == id.UID:
		return perm&0o100 != 0
	case slices.Contains(id.Groups, int(st.Gid)):
		return perm&0o010 != 0
	}
	return perm&0o001 != 0
}
