package logs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// EventQuery selects events.
type EventQuery struct {
	App    string    // "" is all
	Tail   *int      // start so many events before the end
	Since  time.Time // leave out what happened before
	Cursor string    // start behind the event it is of
	Follow bool      // go on with what happens
}

// ReadEvents gives the selected events to emit, oldest first. With Follow it
// calls caughtUp once, where history ends, and goes on until ctx ends or a
// callback fails; it returns what ended it. A cursor whose events are gone, or a
// reader so slow that they went meanwhile, is an *app.Fault of kind OutOfRange.
func (e *Events) ReadEvents(ctx context.Context, q EventQuery, emit func(app.Event) error, caughtUp func() error) error {
	r := &eventReader{log: e, query: q, files: e.reader(), emit: emit}
	if err := r.begin(); err != nil {
		return err
	}
	for {
		end, changed := e.state()
		if err := r.readTo(ctx, end); err != nil {
			return err
		}
		if !q.Follow {
			return nil
		}
		if caughtUp != nil {
			if err := caughtUp(); err != nil {
				return err
			}
			caughtUp = nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// eventReader is one call of ReadEvents.
type eventReader struct {
	log   *Events
	query EventQuery
	files files
	emit  func(app.Event) error
	pos   int64  // of buf[0]
	buf   []byte // read, not yet given out
}

// begin finds where to begin.
func (r *eventReader) begin() error {
	if err := r.files.list(); err != nil {
		return err
	}
	r.pos = r.files.first()
	end, _ := r.log.state()
	if r.query.Cursor != "" {
		if err := r.resume(end); err != nil {
			return err
		}
	}
	if r.query.Tail != nil {
		return r.tail(end, max(0, *r.query.Tail))
	}
	return nil
}

// readTo gives out the events before end.
func (r *eventReader) readTo(ctx context.Context, end int64) error {
	for {
		for {
			line, rest, ok := bytes.Cut(r.buf, []byte{'\n'})
			if !ok {
				break
			}
			r.pos += int64(len(line)) + 1
			r.buf = rest
			if err := r.give(ctx, line); err != nil {
				return err
			}
		}
		at := r.pos + int64(len(r.buf))
		if at >= end {
			return nil
		}
		chunk := make([]byte, min(chunkSize, end-at))
		got, err := r.files.readAt(chunk, at)
		if err != nil {
			return err
		}
		if got.off != at || got.n == 0 {
			return faultEvents("they were overwritten before they were read")
		}
		r.buf = append(r.buf, chunk[:got.n]...)
	}
}

// give emits an event, if it is selected. A line that is none is left out: a
// crash of the machine may leave such.
func (r *eventReader) give(ctx context.Context, line []byte) error {
	ev, ok := parseEvent(line)
	if !ok || r.query.App != "" && ev.App != r.query.App || ev.Time.Before(r.query.Since) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ev.Cursor = eventCursor(r.pos, line)
	return r.emit(ev)
}

// tail moves the beginning to n selected events before end.
func (r *eventReader) tail(end int64, n int) error {
	var buf []byte // of [low, end)
	low := end
	for n > 0 && end > r.pos {
		i := bytes.LastIndexByte(buf[:max(0, len(buf)-1)], '\n')
		if i < 0 && low > r.pos {
			chunk, err := r.files.readBack(make([]byte, chunkSize), low)
			if errors.Is(err, fs.ErrNotExist) || err == nil && len(chunk) == 0 {
				break // deleted meanwhile: what is left is all
			}
			if err != nil {
				return err
			}
			low -= int64(len(chunk))
			buf = append(chunk, buf...)
			if low < r.pos {
				buf, low = buf[r.pos-low:], r.pos
			}
			continue
		}
		if ev, ok := parseEvent(buf[i+1:]); ok && (r.query.App == "" || ev.App == r.query.App) {
			n--
		}
		buf = buf[:i+1]
		end = low + int64(i+1)
	}
	r.pos = max(r.pos, end)
	return nil
}

// cursorTail is how much of an event its cursor is checked by.
const cursorTail = 40

// eventCursor is the place behind an event, with a check sum of its end, as
// another log has another event there.
func eventCursor(pos int64, line []byte) string {
	b := binary.AppendUvarint([]byte{cursorVersion}, uint64(pos))
	b = binary.BigEndian.AppendUint32(b, checksum(line))
	return base64.RawURLEncoding.EncodeToString(b)
}

func checksum(line []byte) uint32 {
	return crc32.ChecksumIEEE(line[max(0, len(line)-cursorTail):])
}

// resume begins behind the event of the cursor.
func (r *eventReader) resume(end int64) error {
	b, err := base64.RawURLEncoding.DecodeString(r.query.Cursor)
	if err != nil || len(b) < 6 || b[0] != cursorVersion {
		return app.Errorf(app.Invalid, app.ReasonInvalidArgument, "", "cursor %q of events is none that was given out", r.query.Cursor)
	}
	off, n := binary.Uvarint(b[1:])
	if n <= 0 || len(b) != 1+n+4 {
		return app.Errorf(app.Invalid, app.ReasonInvalidArgument, "", "cursor %q of events is none that was given out", r.query.Cursor)
	}
	pos := int64(off)
	if pos < r.files.first() || pos > end {
		return faultEvents("its events are gone")
	}
	if pos > r.files.first() {
		line, err := r.files.readBack(make([]byte, cursorTail+1), pos)
		if err != nil {
			return err
		}
		text, ended := bytes.CutSuffix(line, []byte{'\n'})
		if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
		if !ended || checksum(text) != binary.BigEndian.Uint32(b[1+n:]) {
			return faultEvents("it is of another event log")
		}
	}
	r.pos = pos
	return nil
}

func parseEvent(line []byte) (app.Event, bool) {
	var rec record
	if json.Unmarshal(line, &rec) != nil || rec.ID == "" {
		return app.Event{}, false
	}
	return app.Event{
		ID: rec.ID, Time: rec.Time, App: rec.App, Instance: rec.Instance, Actor: rec.Actor,
		Severity: rec.Severity, Message: rec.Message, Attributes: rec.Attributes,
	}, true
}

func faultEvents(why string) error {
	return app.Errorf(app.OutOfRange, app.ReasonCursorGone, "", "the cursor of events cannot be gone on from: %s: read without a cursor, or from a time on", why)
}
