package logs

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// position says what of an app's output has been delivered, in as few bytes as
// an entry can afford. Entries come in the order of their time, so one time says
// it for most instances: those that began well before it and are not listed have
// been delivered to their end, those that began after it not at all. Listed are
// the ones that may still write, and those that wrote around that time.
type position struct {
	time int64 // of the newest entry delivered
	at   map[string]place
}

// place is how much of each of an instance's streams was delivered, by its name, and
// whether it will write no more.
type place struct {
	offsets map[string]int64
	done    bool
}

// beganBefore is how much earlier than position.time an instance must have begun
// to count as delivered without being listed: longer than it takes until its
// files are seen.
const beganBefore = int64(5 * time.Second)

const cursorVersion = 2

// What a listed instance begins with.
const (
	flagStdout = 1 << iota
	flagStderr
	flagPacked // the id is 16 characters of base32: 10 bytes
	flagDone   // all of it was delivered, and it writes no more
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// cursor encodes the position of the reader.
func (r *reader) cursor() string {
	b := append(r.scratch[:0], cursorVersion)
	b = binary.BigEndian.AppendUint32(b, r.tag)
	b = binary.AppendVarint(b, r.time)
	r.open = slices.DeleteFunc(r.open, func(in *instance) bool { return in.done && in.last() < r.time-beganBefore })
	for _, in := range r.open {
		b = in.appendTo(b)
	}
	text := base64.RawURLEncoding.AppendEncode(b, b)
	r.scratch = text
	return string(text[len(b):])
}

// tag is what cursors of an app are told from those of another state by, or of
// another app.
func (s *Store) tag(name string) uint32 {
	return crc32.ChecksumIEEE(binary.BigEndian.AppendUint64([]byte(name), s.cfg.State))
}

func (in *instance) appendTo(b []byte) []byte {
	flags := byte(0)
	for _, s := range in.streams {
		flags |= streamFlag(s.name)
	}
	if in.done {
		flags |= flagDone
	}
	if in.packed == nil {
		in.packed = packID(in.id)
	}
	if len(in.packed) == 10 {
		flags |= flagPacked
	}
	b = append(append(b, flags), in.packed...)
	for _, s := range in.streams {
		b = binary.AppendUvarint(b, uint64(s.pos))
	}
	return b
}

// packID is an id as a cursor has it: 10 bytes where that is possible, else the text
// behind its length.
func packID(id string) []byte {
	if packed, err := idEncoding.DecodeString(id); err == nil && len(packed) == 10 {
		return packed
	}
	return append([]byte{byte(len(id))}, id...)
}

func streamFlag(stream string) byte {
	if stream == Stderr {
		return flagStderr
	}
	return flagStdout
}

// parseCursor reads what cursor wrote.
func (s *Store) parseCursor(name, cursor string) (position, error) {
	p := position{at: map[string]place{}}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	tag := uint32(0)
	if err == nil {
		tag, err = p.decode(b)
	}
	switch {
	case err != nil:
		return p, faultCursor(name, "cursor %q of app %s is none that was given out", cursor, name)
	case tag != s.tag(name):
		return p, app.Errorf(app.OutOfRange, app.ReasonCursorGone, name,
			"the cursor is not of app %s and this daemon's state: read without a cursor, or from a time on", name)
	}
	return p, nil
}

// faultCursor says that a cursor is malformed.
func faultCursor(name, format string, args ...any) error {
	f := app.Errorf(app.Invalid, app.ReasonInvalidArgument, name, format, args...)
	f.Violations = []app.Violation{{Field: "cursor", Message: f.Message}}
	return f
}

var errCursor = errors.New("malformed")

func (p *position) decode(b []byte) (tag uint32, err error) {
	if len(b) < 5 || b[0] != cursorVersion {
		return 0, errCursor
	}
	tag = binary.BigEndian.Uint32(b[1:])
	t, n := binary.Varint(b[5:])
	if n <= 0 {
		return 0, errCursor
	}
	p.time = t
	for b = b[5+n:]; len(b) > 0; {
		if b, err = p.decodeInstance(b); err != nil {
			return 0, err
		}
	}
	return tag, nil
}

func (p *position) decodeInstance(b []byte) (rest []byte, err error) {
	flags := b[0]
	b = b[1:]
	var id string
	switch {
	case flags&flagPacked != 0 && len(b) >= 10:
		id, b = idEncoding.EncodeToString(b[:10]), b[10:]
	case flags&flagPacked == 0 && len(b) > 0 && len(b) > int(b[0]):
		id, b = string(b[1:1+b[0]]), b[1+int(b[0]):]
	}
	if !validID(id) {
		return nil, errCursor
	}
	at := place{offsets: map[string]int64{}, done: flags&flagDone != 0}
	for _, stream := range []string{Stdout, Stderr} {
		if flags&streamFlag(stream) == 0 {
			continue
		}
		off, n := binary.Uvarint(b)
		if n <= 0 || int64(off) < 0 {
			return nil, errCursor
		}
		at.offsets[stream], b = int64(off), b[n:]
	}
	p.at[id] = at
	return b, nil
}
