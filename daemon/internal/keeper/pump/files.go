package pump

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Files says where a stream's files lie: Dir/Stream.0 and its index beside it,
// the number being the offset of the segment's first byte in the stream.
type Files struct {
	Dir    string
	Stream string // stdout or stderr
	GID    int    // group that may read them; -1 leaves the keeper's
}

// Segment is the path of the stream's segment.
func (f Files) Segment() string { return filepath.Join(f.Dir, f.Stream+".0") }

// open opens a file to write to it wherever its end is, and makes it first.
func (f Files) open(path string) (*os.File, int64, error) {
	// Never O_APPEND, to which splice cannot write.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() == 0 {
		err = chown(path, f.GID)
	}
	if err != nil {
		_ = file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// MakeDir makes the folder of an instance's logs and those above it up to root,
// all 0750 and readable for the group gid (-1 leaves the keeper's). The umask must
// not take from that: a chmod each would be felt in every start.
func MakeDir(root, app, instance string, gid int) (string, error) {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", err
	}
	dir := root
	for _, name := range []string{"", app, instance} {
		dir = filepath.Join(dir, name)
		err := os.Mkdir(dir, 0o750)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = chown(dir, gid)
		}
		if err != nil {
			return "", err
		}
	}
	return dir, nil
}

func chown(path string, gid int) error {
	if gid < 0 {
		return nil
	}
	return os.Lchown(path, -1, gid)
}
