package logs

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// position says what of an app's output has been delivered, in as few bytes as
// an entry can afford. Entries come in the order of their time, so one time says
// it for most instances: those that began well before it and are not listed have
// been delivered to their end, those that began after it not at all. Listed are
// the ones that may still write, and those that began around that time.
type position struct {
	time int64 // of the newest entry delivered
	at   map[string]offsets
}

// offsets are how much of each stream was delivered, by its name.
type offsets map[string]int64

// beganBefore is how much earlier than position.time an instance must have begun
// to count as delivered without being listed: longer than it takes until its
// files are seen.
const beganBefore = int64(5 * time.Second)

const cursorVersion = 1

// What a listed instance begins with.
const (
	flagStdout = 1 << iota
	flagStderr
	flagPacked // the id is 16 characters of base32: 10 bytes
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// cursor encodes the position of the reader.
func (r *reader) cursor() string {
	b := make([]byte, 0, 64)
	b = append(b, cursorVersion)
	b = binary.AppendVarint(b, r.time)
	r.open = slices.DeleteFunc(r.open, func(in *instance) bool { return in.done && in.first < r.time-beganBefore })
	for _, in := range r.open {
		b = in.appendTo(b)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (in *instance) appendTo(b []byte) []byte {
	flags := byte(0)
	for _, s := range in.streams {
		flags |= streamFlag(s.name)
	}
	packed, err := idEncoding.DecodeString(in.id)
	if err == nil && len(packed) == 10 {
		b = append(b, flags|flagPacked)
		b = append(b, packed...)
	} else {
		b = append(b, flags, byte(len(in.id)))
		b = append(b, in.id...)
	}
	for _, s := range in.streams {
		b = binary.AppendUvarint(b, uint64(s.pos))
	}
	return b
}

func streamFlag(stream string) byte {
	if stream == Stderr {
		return flagStderr
	}
	return flagStdout
}

// parseCursor reads what cursor wrote.
func parseCursor(name, cursor string) (position, error) {
	p := position{at: map[string]offsets{}}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = p.decode(b)
	}
	if err != nil {
		return p, app.Errorf(app.Invalid, app.ReasonInvalidArgument, name, "cursor %q of app %s is none that was given out", cursor, name)
	}
	return p, nil
}

var errCursor = errors.New("malformed")

func (p *position) decode(b []byte) error {
	if len(b) == 0 || b[0] != cursorVersion {
		return errCursor
	}
	t, n := binary.Varint(b[1:])
	if n <= 0 {
		return errCursor
	}
	p.time = t
	for b = b[1+n:]; len(b) > 0; {
		rest, err := p.decodeInstance(b)
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
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
	at := offsets{}
	for _, stream := range []string{Stdout, Stderr} {
		if flags&streamFlag(stream) == 0 {
			continue
		}
		off, n := binary.Uvarint(b)
		if n <= 0 || int64(off) < 0 {
			return nil, errCursor
		}
		at[stream], b = int64(off), b[n:]
	}
	p.at[id] = at
	return b, nil
}
