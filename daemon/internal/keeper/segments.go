package keeper

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
)

// segment is a part of an instance's output on disk.
type segment struct {
	app, instance string
	path          string
	start         int64     // in its stream
	bytes         int64     // with its index
	time          time.Time // of its last write, or of the one before it
	newest        bool      // of its stream: the one that may be written to
}

// appSegments lists all of an app's output.
func appSegments(logDir, app string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Join(logDir, app))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []segment
	errs := []error{err}
	for _, e := range entries {
		if e.IsDir() {
			more, err := instanceSegments(logDir, app, e.Name())
			list, errs = append(list, more...), append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

func instanceSegments(logDir, app, instance string) ([]segment, error) {
	dir := filepath.Join(logDir, app, instance)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	var list []segment
	for _, stream := range streams {
		var parts []segment
		for _, e := range entries {
			start, ok := pump.SegmentStart(e.Name(), stream)
			if !ok {
				continue
			}
			info, err := e.Info()
			if err != nil { // it was deleted meanwhile
				continue
			}
			s := segment{
				app: app, instance: instance, path: filepath.Join(dir, e.Name()), start: start,
				bytes: info.Size(), time: info.ModTime(),
			}
			if index, err := os.Lstat(s.path + pump.IndexSuffix); err == nil {
				s.bytes += index.Size()
			}
			parts = append(parts, s)
		}
		list = append(list, inOrder(parts)...)
	}
	return list, nil
}

// inOrder sorts a stream's segments. None is older than those before it, though the
// clock was set back: a stream is deleted from its beginning, without holes.
func inOrder(parts []segment) []segment {
	slices.SortFunc(parts, func(a, b segment) int { return cmp.Compare(a.start, b.start) })
	for n := range parts {
		if n > 0 && parts[n].time.Before(parts[n-1].time) {
			parts[n].time = parts[n-1].time
		}
		parts[n].newest = n == len(parts)-1
	}
	return parts
}

// allSegments lists the output of all apps.
func allSegments(logDir string) ([]segment, error) {
	entries, err := os.ReadDir(logDir)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	var list []segment
	var errs []error
	for _, e := range entries {
		if e.IsDir() && validApp.MatchString(e.Name()) {
			more, err := appSegments(logDir, e.Name())
			list, errs = append(list, more...), append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

// surplus chooses what to delete of a list so that no more than most is left, the
// oldest first. weigh says what a segment counts, keep which must stay.
func surplus(list []segment, most int64, weigh func(segment) int64, keep func(segment) bool) []segment {
	total := sum(list, weigh)
	list = slices.DeleteFunc(slices.Clone(list), keep)
	slices.SortStableFunc(list, func(a, b segment) int {
		// Many can be of one tick of the clock.
		return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.instance, b.instance), cmp.Compare(a.start, b.start), cmp.Compare(a.path, b.path))
	})
	n := 0
	for ; n < len(list) && total > most; n++ {
		total -= weigh(list[n])
	}
	return list[:n]
}

func sum(list []segment, weigh func(segment) int64) (total int64) {
	for _, s := range list {
		total += weigh(s)
	}
	return total
}

// remove deletes a segment with its index, and its instance's folder with the last.
// The index goes first: a segment without one is found again, were the keeper killed
// between the two.
func (s segment) remove() error {
	err := errors.Join(ignoreNotExist(os.Remove(s.path+pump.IndexSuffix)), ignoreNotExist(os.Remove(s.path)))
	_ = os.Remove(filepath.Dir(s.path)) // fails while something is in it
	return err
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
