package folder

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/roostd/roost/daemon/internal/app"
)

// pageOf returns the page that takes an app in dir out of service; nil where there
// is none. The error says that the folder cannot be read.
func pageOf(dir string) (*app.OfflinePage, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	names, err := list(root, ".")
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.EqualFold(name, app.OfflineFile) })
	slices.Sort(names) // of several the same one counts each time
	for _, name := range names {
		if counts(root, name) {
			return &app.OfflinePage{Page: readPage(root, name)}, nil
		}
	}
	return nil, nil
}

// list returns the names in a folder below root.
func list(root *os.Root, dir string) ([]string, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Readdirnames(-1)
}

// counts tells whether what has the page's name takes the app out of service:
// anything but a folder, or a link to one. A link that leads nowhere, or out, does.
func counts(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	if err != nil {
		return false // it was renamed or removed meanwhile
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if to, err := root.Stat(name); err == nil {
			info = to
		}
	}
	return !info.IsDir()
}

// readPage returns what is in a page's file. It is empty where that is no regular
// file within the folder, too large, or nobody may read it: the daemon may read
// what its mode keeps from everybody, and must not show it to the world.
func readPage(root *os.Root, name string) []byte {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o444 == 0 {
		return nil
	}
	// What it has become since must not make the daemon wait either.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	page, err := io.ReadAll(io.LimitReader(f, app.MaxOfflinePage+1))
	if err != nil || len(page) > app.MaxOfflinePage {
		return nil
	}
	return page
}
