package logs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// files are the segments of one stream, which together are one range of bytes.
// Nothing is kept open between two calls: readers are many and in no hurry.
type files struct {
	dir    string
	name   string
	starts []int64 // of the segments that were there, ascending

	checked checked
}

func (f *files) path(start int64) string {
	return filepath.Join(f.dir, f.name+"."+strconv.FormatInt(start, 10))
}

// list looks which segments there are.
func (f *files) list() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.starts = f.starts[:0]
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), f.name+".")
		if !ok {
			continue
		}
		if start, err := strconv.ParseInt(digits, 10, 64); err == nil && start >= 0 {
			f.starts = append(f.starts, start)
		}
	}
	slices.Sort(f.starts)
	return nil
}

// of returns the start of the segment that holds off.
func (f *files) of(off int64) (start int64, ok bool) {
	i, found := slices.BinarySearch(f.starts, off)
	switch {
	case found:
		return off, true
	case i == 0:
		return 0, false
	}
	return f.starts[i-1], true
}

// first is the offset of the oldest byte that is left.
func (f *files) first() int64 {
	if len(f.starts) == 0 {
		return 0
	}
	return f.starts[0]
}

// end is the offset behind the newest byte, and when it came.
func (f *files) end() (int64, time.Time) {
	if f.list() != nil || len(f.starts) == 0 {
		return 0, time.Time{}
	}
	start := f.starts[len(f.starts)-1]
	st, err := os.Stat(f.path(start))
	if err != nil {
		return start, time.Time{}
	}
	return start + st.Size(), st.ModTime()
}

// span is what readAt read from.
type span struct {
	start int64 // of the segment
	off   int64 // of the first byte read: where bytes are gone, behind them
	n     int
}

// readAt reads bytes at off from one segment, and the next where that one ends
// there. 0 bytes say that no more is there yet.
func (f *files) readAt(p []byte, off int64) (span, error) {
	for range 3 { // a segment may be deleted or added at any moment
		start, ok := f.of(off)
		if !ok {
			if err := f.list(); err != nil {
				return span{}, err
			}
			if len(f.starts) == 0 {
				return span{off: off}, nil
			}
			if start, ok = f.of(off); !ok {
				start, off = f.starts[0], f.starts[0]
			}
		}
		n, err := f.readSegment(p, start, off)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.starts = f.starts[:0]
			continue
		case err != nil:
			return span{}, err
		case n == 0 && off > start:
			next, ok, err := f.next(off)
			if err != nil {
				return span{}, err
			}
			if ok {
				// It is complete, then, but was perhaps not yet when it was read: once
				// more, before what is between the two counts as gone.
				if n, err := f.readSegment(p, start, off); n > 0 && err == nil {
					return span{start, off, n}, nil
				}
				off = next
				continue
			}
		}
		return span{start, off, n}, err
	}
	return span{off: off}, nil
}

// next is where the first segment begins that does so at off or behind it.
func (f *files) next(off int64) (start int64, ok bool, err error) {
	if err := f.list(); err != nil {
		return 0, false, err
	}
	i, _ := slices.BinarySearch(f.starts, off)
	if i == len(f.starts) {
		return 0, false, nil
	}
	return f.starts[i], true, nil
}

func (f *files) readSegment(p []byte, start, off int64) (int, error) {
	file, err := os.Open(f.path(start))
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	n, err := file.ReadAt(p, off-start)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// readBack reads the bytes before end that p has room for, or that are left.
func (f *files) readBack(p []byte, end int64) ([]byte, error) {
	start, ok := f.of(end - 1)
	if !ok {
		return nil, nil
	}
	off := max(start, end-int64(len(p)))
	p = p[:end-off]
	n, err := f.readSegment(p, start, off)
	if err == nil && n < len(p) {
		err = io.ErrUnexpectedEOF
	}
	return p[:n], err
}

// unnoted tells from where on the newest bytes of a segment have no entry in the
// index yet: the keeper writes it right behind them.
func (f *files) unnoted(start int64) (from int64) {
	data, err := os.Stat(f.path(start))
	if err != nil {
		return math.MaxInt64
	}
	index, err := os.Stat(f.path(start) + indexSuffix)
	// The times are coarse: equal ones say little of an index that is still empty.
	noted := err == nil && index.Size() > 0 && !data.ModTime().After(index.ModTime())
	if noted || time.Since(data.ModTime()) > noteDelay {
		return math.MaxInt64
	}
	last, ok := f.lastBatch(start)
	if !ok {
		return start
	}
	return last.off
}

// pending tells whether the newest bytes may be waiting for their entry in the
// index. Times are coarse: equal ones do not say that the entry is the newest bytes'.
func (f *files) pending() bool {
	if len(f.starts) == 0 {
		return false
	}
	path := f.path(f.starts[len(f.starts)-1])
	data, err := os.Stat(path)
	if err != nil || data.Size() == 0 || time.Since(data.ModTime()) > noteDelay {
		return false
	}
	index, err := os.Stat(path + indexSuffix)
	return err != nil || index.Size() == 0 || !index.ModTime().After(data.ModTime())
}

func byOffset(b batch, off int64) int { return cmp.Compare(b.off, off) }
