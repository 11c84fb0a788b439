package spawn

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ordersVersion and the form that follows it are those of daemon/exec, which
// shares no package with anything.
const ordersVersion = "roost-exec/2"

// ordersFile returns a file in memory that roost-exec reads its orders from. It
// is no pipe, as an environment may be larger than what a pipe holds.
func ordersFile(o Order) (*os.File, error) {
	fd, err := unix.MemfdCreate("roost-exec", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "orders")
	if _, err = f.Write(o.encode()); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (o Order) encode() []byte {
	var e encoder
	e.text(ordersVersion)
	e.number(o.Umask)
	e.number(o.NoFile)
	c := Credential{}
	if o.Credential != nil {
		c = *o.Credential
	}
	e.flag(o.Credential != nil)
	e.number(c.UID)
	e.number(c.GID)
	e.numbers(c.Groups)
	e.text(o.Dir)
	e.texts(o.Procs)
	e.flag(o.Socket != nil)
	e.text(o.Path)
	e.texts(o.Argv)
	e.texts(o.Env)
	return e
}

type encoder []byte

func (e *encoder) text(s string) { *e = append(append(*e, s...), 0) }

func (e *encoder) number(n int) { *e = append(strconv.AppendInt(*e, int64(n), 10), 0) }

func (e *encoder) flag(b bool) {
	if b {
		e.number(1)
	} else {
		e.number(0)
	}
}

func (e *encoder) texts(list []string) {
	e.number(len(list))
	for _, s := range list {
		e.text(s)
	}
}

func (e *encoder) numbers(list []int) {
	e.number(len(list))
	for _, n := range list {
		e.number(n)
	}
}
