package stdoutfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// mark says what is about to be written, before it is. With the size that the file
// then has it tells the next keeper how far the copy has come, to the byte: what
// was there is not copied again, and what was not is.
type mark struct {
	Magic    uint64
	N        int64 // which file of this start
	Dev, Ino uint64
	Size     int64 // of the file, before
	Pos      [2]int64
	Stream   int64
	Length   int64
}

const magic = 0x726f6f7374020001

// journal keeps the newest mark. It is written over in one call, not synced: it must
// outlive a keeper, not a machine.
type journal struct {
	path string // "" keeps none
	file *os.File
}

func (j *journal) note(m mark) {
	if j.path == "" {
		return
	}
	m.Magic = magic
	var b bytes.Buffer
	err := binary.Write(&b, binary.BigEndian, m)
	if err == nil && j.file == nil {
		j.file, err = os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err == nil {
		_, err = j.file.WriteAt(b.Bytes(), 0)
	}
	if err != nil { // an older mark would lie
		j.close()
		_ = os.Remove(j.path)
	}
}

func (j *journal) read() (mark, error) {
	data, err := os.ReadFile(j.path)
	if err != nil {
		return mark{}, err
	}
	var m mark
	if err := binary.Read(bytes.NewReader(data), binary.BigEndian, &m); err != nil {
		return mark{}, err
	}
	if m.Magic != magic || m.Stream < 0 || m.Stream > 1 || m.Length < 0 || m.N < 0 || m.Pos[0] < 0 || m.Pos[1] < 0 {
		return mark{}, fmt.Errorf("%s is no mark", j.path)
	}
	return m, nil
}

func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
}

// errUnknown is for a copy of which nobody knows how far it has come.
var errUnknown = errors.New("the copy ends where the keeper that made it has ended")

// takeUp goes on with what an earlier keeper has begun.
func (c *Copy) takeUp() error {
	m, err := c.journal.read()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	c.sources[0].pos, c.sources[1].pos = m.Pos[0], m.Pos[1]
	written, err := c.out.reopen(m)
	if err != nil {
		return err
	}
	c.sources[m.Stream].pos += written
	return nil
}

// reopen opens the file of a mark, and tells how much of what it announces is in
// there. Where the file cannot be had, or is another, so is what was written to it, and the
// next is begun.
func (o *output) reopen(m mark) (written int64, err error) {
	path := o.files.name(int(m.N))
	o.n = int(m.N) + 1
	var f *os.File
	err = o.files.As(func() (err error) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return m.Length, o.roll()
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return 0, err
	}
	if dev, ino := identify(info); dev != m.Dev || ino != m.Ino {
		_ = f.Close()
		return m.Length, o.roll()
	}
	o.file, o.path, o.midLine = f, path, false
	o.files.Open.add(path)
	return min(max(info.Size()-m.Size, 0), m.Length), nil
}

// identify tells a file from all others.
func identify(info fs.FileInfo) (dev, ino uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Dev, st.Ino
}
