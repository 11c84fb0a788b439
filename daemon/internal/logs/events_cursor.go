package logs

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/roostd/roost/daemon/internal/app"
)

// mark is the place behind an event.
type mark struct {
	pos int64  // offset behind it
	seq uint64 // its number, 0 where that is not known
	sum uint32 // of its end: another log has another event there
}

// cursorTail is how much of an event its check sum is of.
const cursorTail = 40

func checksum(line []byte) uint32 {
	return crc32.ChecksumIEEE(line[max(0, len(line)-cursorTail):])
}

// cursor encodes how far reading has come.
func (r *eventReader) cursor() string {
	m := r.mark
	b := binary.BigEndian.AppendUint32([]byte{cursorVersion}, r.log.ofTag)
	b = binary.AppendUvarint(b, uint64(m.pos))
	b = binary.AppendUvarint(b, m.seq)
	b = binary.BigEndian.AppendUint32(b, m.sum)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseEventCursor reads what cursor wrote.
func parseEventCursor(cursor string) (tag uint32, m mark, err error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) < 5 || b[0] != cursorVersion {
		return 0, m, errCursor
	}
	tag, b = binary.BigEndian.Uint32(b[1:]), b[5:]
	pos, n := binary.Uvarint(b)
	if n <= 0 || int64(pos) < 0 {
		return 0, m, errCursor
	}
	seq, k := binary.Uvarint(b[n:])
	if k <= 0 || len(b) != n+k+4 {
		return 0, m, errCursor
	}
	return tag, mark{int64(pos), seq, binary.BigEndian.Uint32(b[n+k:])}, nil
}

// resume begins behind the event of the cursor, or behind what is gone since.
func (r *eventReader) resume(end int64) error {
	tag, m, err := parseEventCursor(r.query.Cursor)
	if err != nil {
		return faultCursor("", "cursor %q of events is none that was given out", r.query.Cursor)
	}
	first := r.files.first()
	if tag != r.log.ofTag || m.pos > end || m.pos > first && !r.isOf(m) {
		return app.Errorf(app.OutOfRange, app.ReasonCursorGone, "",
			"the cursor is not of this daemon's events: read without a cursor, or from a time on")
	}
	r.mark, r.pos = m, max(m.pos, first)
	r.gap = m.pos < first
	r.told = r.gap
	return nil
}

// isOf tells whether an event ends where a mark says, and it is that one.
func (r *eventReader) isOf(m mark) bool {
	line, err := r.files.readBack(make([]byte, cursorTail+1), m.pos)
	if err != nil {
		return false
	}
	text, ended := bytes.CutSuffix(line, []byte{'\n'})
	if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return ended && (m.sum == 0 || checksum(text) == m.sum)
}
