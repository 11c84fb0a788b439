package stdoutfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Files says which files a copy goes to: <Prefix>_<Start in UTC>_<PID>.log, and
// once that is full, <Prefix>_<Start in UTC>_<PID>_1.log and so on.
type Files struct {
	Prefix   string // absolute
	MaxSize  int64  // bytes, of one file
	MaxFiles int    // so many times MaxSize is what all files of the prefix may hold
	Start    time.Time
	PID      int
	// As calls a function with the rights of the app's user.
	As func(func() error) error
	// Journal is a file of the keeper's own, beside the instance's record, by which
	// another keeper can go on with the copy; "" keeps none.
	Journal string
	// Resume goes on with a copy that an earlier keeper has begun.
	Resume bool
	// Open are those that are written to.
	Open *Open
}

// name is the n-th file of this start.
func (f Files) name(n int) string {
	name := f.Prefix + "_" + f.Start.UTC().Format(timeLayout) + "_" + strconv.Itoa(f.PID)
	if n > 0 {
		name += "_" + strconv.Itoa(n)
	}
	return name + suffix
}

// output is the file that is written to.
type output struct {
	files   Files
	n       int // of the next file
	file    *os.File
	path    string
	midLine bool // what was written last did not end a line
}

// room tells how much of b has room in the file, and what file that is. Where
// nothing has, it begins the next one.
func (o *output) room(b []byte) (fit int, info fs.FileInfo, err error) {
	if o.file == nil {
		return 0, nil, o.roll()
	}
	// Asked each time: the app's user may cut or delete it.
	if info, err = o.file.Stat(); err != nil {
		return 0, nil, err
	}
	fit = fitting(b, info.Size(), o.files.MaxSize, o.midLine)
	if fit == 0 || isDeleted(info) {
		return 0, nil, o.roll()
	}
	return fit, info, nil
}

// write writes what has room.
func (o *output) write(b []byte) (int, error) {
	n, err := o.file.Write(b)
	if n > 0 {
		o.midLine = b[n-1] != '\n'
	}
	return n, err
}

// fitting is how much of b goes into a file of some size: whole lines where that is
// possible, and less than MaxSize always.
func fitting(b []byte, size, most int64, midLine bool) int {
	room := most - size
	switch {
	case room >= int64(len(b)):
		return len(b)
	case room <= 0:
		return 0
	}
	lines := bytes.LastIndexByte(b[:room], '\n') + 1
	if lines == 0 && (midLine || size == 0) {
		return int(room) // a line that is longer than a file
	}
	return lines
}

func isDeleted(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

// roll begins the next file, after it has made room for it.
func (o *output) roll() error {
	o.close()
	return o.files.As(func() error {
		if err := os.MkdirAll(filepath.Dir(o.files.Prefix), 0o750); err != nil {
			return err
		}
		if err := o.files.prune(); err != nil {
			return err
		}
		return o.create()
	})
}

// create makes the next file. It must be new: whatever has its name already, a
// link that somebody has laid out too, is passed over.
func (o *output) create() error {
	const tries = 1000
	for range tries {
		path := o.files.name(o.n)
		o.n++
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND|unix.O_NOFOLLOW, 0o640)
		if err == nil {
			o.file, o.path, o.midLine = f, path, false
			o.files.Open.add(path)
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			o.n--
			return err
		}
	}
	return &os.PathError{Op: "create", Path: o.files.name(o.n), Err: fs.ErrExist}
}

func (o *output) close() {
	if o.file != nil {
		o.files.Open.remove(o.path)
		_ = o.file.Close()
		o.file = nil
	}
}
