package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// kestrelArchive holds a .NET runtime and an ASP.NET Core app, as they come from
// `dotnet publish`. It lies beside the repository.
const kestrelArchive = "../../../shared/kestrel/bundle.tar.gz"

// kestrelBundle is the folder that has dotnet/ and app/ of the archive. It is
// unpacked once, whoever asks, into a cache that the next run finds again. Without
// the archive the test is skipped.
func kestrelBundle(t testing.TB) string {
	t.Helper()
	dir, err := unpackedKestrel()
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no ASP.NET Core app to host: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var unpackedKestrel = sync.OnceValues(func() (string, error) {
	info, err := os.Stat(kestrelArchive)
	if err != nil {
		return "", err
	}
	// Not below a home, which the app's user may be unable to enter.
	name := fmt.Sprintf("roost-e2e-kestrel-%d-%x-%x", os.Getuid(), info.Size(), info.ModTime().UnixNano())
	return unpackOnce(kestrelArchive, filepath.Join(os.TempDir(), name))
})

// unpackOnce makes dir of an archive. It appears complete or not at all, so that
// runs at the same time, and ones that are killed, leave nothing half done.
func unpackOnce(archive, dir string) (string, error) {
	if ours(dir) {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := errorsOf(os.Chmod(tmp, 0o755), unpack(archive, tmp)); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", archive, err)
	}
	if err := os.Rename(tmp, dir); err != nil && !ours(dir) {
		return "", err
	}
	return dir, nil
}

// ours tells whether dir is a folder that nobody else can have prepared for us.
func ours(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid() && info.Mode().Perm()&0o022 == 0
}

func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = unpackEntry(root, h, r)
		}
		if err != nil {
			return err
		}
	}
}

// unpackEntry makes one entry, with modes that let every user read it.
func unpackEntry(root *os.Root, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(filepath.Clean(h.Name), 0o755)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, h.Name)
	case tar.TypeReg:
		mode := fs.FileMode(0o644)
		if h.Mode&0o111 != 0 {
			mode = 0o755
		}
		f, err := root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	return fmt.Errorf("%s is of a kind (%c) that is not expected", h.Name, h.Typeflag)
}

// kestrelDotnet is the folder of the dotnet command.
func kestrelDotnet(t testing.TB) string { return filepath.Join(kestrelBundle(t), "dotnet") }

// publishKestrel copies the published app, its web.config included, to a folder
// that is the test's own.
func publishKestrel(t testing.TB, dir string) {
	t.Helper()
	// Whoever the app runs as may write there.
	err := errorsOf(os.MkdirAll(filepath.Dir(dir), 0o755), os.CopyFS(dir, os.DirFS(filepath.Join(kestrelBundle(t), "app"))), os.Chmod(dir, 0o777))
	if err != nil {
		t.Fatal(err)
	}
}
