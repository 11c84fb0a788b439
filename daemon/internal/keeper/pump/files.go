package pump

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Files says where a stream's files lie: Dir/Stream.0 and its index beside it, then
// Dir/Stream.1048576 and so on, the number being the offset of the segment's first
// byte in the stream.
type Files struct {
	Dir    string
	Stream string // stdout or stderr
	GID    int    // group that may read them; -1 leaves the keeper's
}

// IndexSuffix is what the name of a segment's index ends in.
const IndexSuffix = ".idx"

// Segment is the path of the segment whose first byte is the stream's at start.
func (f Files) Segment(start int64) string {
	return filepath.Join(f.Dir, f.Stream+"."+strconv.FormatInt(start, 10))
}

// SegmentStart reads the name of a segment; false where it is not one of the stream.
func SegmentStart(name, stream string) (start int64, ok bool) {
	digits, ok := strings.CutPrefix(name, stream+".")
	if !ok {
		return 0, false
	}
	start, err := strconv.ParseInt(digits, 10, 64)
	return start, err == nil && start >= 0
}

// Holding is where the segment begins that has the stream's byte at offset, or will
// have it. fs.ErrNotExist where that was deleted, or never was.
func (f Files) Holding(offset int64) (start int64, err error) {
	starts, err := f.starts()
	if err != nil {
		return 0, err
	}
	i, found := slices.BinarySearch(starts, offset)
	switch {
	case found:
		return offset, nil
	case i == 0:
		return 0, &os.PathError{Op: "find segment of", Path: f.Segment(offset), Err: fs.ErrNotExist}
	}
	return starts[i-1], nil
}

// Next is where the first segment begins that does so behind offset; false where
// none does.
func (f Files) Next(offset int64) (start int64, ok bool) {
	starts, err := f.starts()
	i, _ := slices.BinarySearch(starts, offset+1)
	if err != nil || i == len(starts) {
		return 0, false
	}
	return starts[i], true
}

// endBefore is where the segment before the one at start ends; start where there is
// none.
func (f Files) endBefore(start int64) int64 {
	before, err := f.Holding(start - 1)
	if err != nil {
		return start
	}
	info, err := os.Stat(f.Segment(before))
	if err != nil {
		return start
	}
	return before + info.Size()
}

// rename makes the empty segment at start the one at to. The index goes first: a
// segment without one is found again.
func (f Files) rename(start, to int64) error {
	from, next := f.Segment(start), f.Segment(to)
	if err := os.Rename(from+IndexSuffix, next+IndexSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(from, next)
}

// remove deletes what there is of a segment that was not begun.
func (f Files) remove(start int64) {
	path := f.Segment(start)
	_, _ = os.Remove(path), os.Remove(path+IndexSuffix)
}

// starts lists where the stream's segments begin, ascending.
func (f Files) starts() ([]int64, error) {
	entries, err := os.ReadDir(f.Dir)
	var list []int64
	for _, e := range entries {
		if at, ok := SegmentStart(e.Name(), f.Stream); ok {
			list = append(list, at)
		}
	}
	slices.Sort(list)
	return list, err
}

// open opens a file to write to it wherever its end is, and makes it first. An index
// is read as well.
func (f Files) open(path string) (*os.File, int64, error) {
	// Never O_APPEND, to which splice cannot write.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
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
