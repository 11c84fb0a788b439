package folder

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
)

// errUnfinished says that the page is being written: what there is of it may be cut.
var errUnfinished = errors.New("the page is being written")

// pageOf returns the page that takes an app in dir out of service; nil where there
// is none. The error says that the folder cannot be read or, with errUnfinished, that
// the page is the proxy's own until that in the file is whole.
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
		if !counts(root, name) {
			continue
		}
		page, err := readPage(root, name)
		if err != nil {
			return &app.OfflinePage{BuiltIn: true}, err
		}
		return &app.OfflinePage{Page: page}, nil
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
func readPage(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o444 == 0 {
		return nil, nil
	}
	// What it has become since must not make the daemon wait either.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	if isWritten(f) {
		return nil, errUnfinished
	}
	page, err := io.ReadAll(io.LimitReader(f, app.MaxOfflinePage+1))
	if err != nil || len(page) > app.MaxOfflinePage {
		return nil, nil
	}
	return page, nil
}

// isWritten reports whether anybody has the file open for writing. Where it can be
// told, and nobody has, nobody can until f is closed: a read lease of the kernel's (see
// fcntl(2)) is not given while there is a writer, and has one that comes wait. The
// kernel gives it to the file's owner and with CAP_LEASE, not on every file system.
func isWritten(f *os.File) (yes bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		yes = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && yes
}
