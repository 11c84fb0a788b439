package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"regexp"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// EventQuery selects events.
type EventQuery struct {
	App      string       // "" is all
	Instance string       // "" is all
	Severity app.Severity // at least; 0 is any
	Grep     string       // leave out events whose message this regular expression does not match
	Tail     *int         // start so many events before the end
	Since    time.Time    // leave out what happened before
	Until    time.Time    // leave out what happened then or later; zero is never
	Cursor   string       // start behind the event it is of
	Follow   bool         // go on with what happens
	Lossless bool         // end where a gap opens while this is read
}

// EventEntry is an event that was read, or a gap between two.
type EventEntry struct {
	app.Event
	Gap    bool // no event: some are missing here that were deleted before they were read, or never written
	Missed int  // of a gap: how many, of all apps; 0 where nobody can tell
}

// ReadEvents gives the selected events to the sink, oldest first. With Follow it goes
// on until ctx ends, the sink fails, or Until has passed, and returns what ended it.
// The error is a *app.Fault for what is wrong with the query, and of kind Exhausted
// where Lossless ends it.
func (e *Events) ReadEvents(ctx context.Context, q EventQuery, to Sink[EventEntry]) error {
	grep, err := compileGrep("", q.Grep)
	if err != nil {
		return err
	}
	r := &eventReader{log: e, query: q, grep: grep, files: e.reader(), to: to}
	if err := r.begin(); err != nil {
		return err
	}
	return r.run(ctx)
}

// eventReader is one call of ReadEvents.
type eventReader struct {
	log    *Events
	query  EventQuery
	grep   *regexp.Regexp
	files  files
	to     Sink[EventEntry]
	pos    int64  // of buf[0]
	buf    []byte // read, not yet given out
	mark   mark   // of the newest event read
	from   mark   // what it was when reading began
	gap    bool   // some are gone before the next one
	told   bool   // and were when reading began
	passed bool   // events were read since the last one given out
}

// run reads what is there, and what happens.
func (r *eventReader) run(ctx context.Context) error {
	caughtUp := r.to.CaughtUp
	for {
		closing := !r.query.Until.IsZero() && time.Now().After(r.query.Until)
		end, changed := r.log.state()
		if err := r.readTo(ctx, end); err != nil {
			return err
		}
		if r.passed && r.to.Passed != nil {
			r.passed = false
			r.to.Passed(r.cursor())
		}
		if !r.query.Follow || closing {
			return nil
		}
		if caughtUp != nil {
			if err := caughtUp(r.cursor()); err != nil {
				return err
			}
			caughtUp = nil
		}
		if err := r.wait(ctx, changed); err != nil {
			return err
		}
	}
}

// wait waits for an event, or until none is wanted any more.
func (r *eventReader) wait(ctx context.Context, changed <-chan struct{}) error {
	var until <-chan time.Time
	if !r.query.Until.IsZero() {
		t := time.NewTimer(time.Until(r.query.Until) + time.Millisecond)
		defer t.Stop()
		until = t.C
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-until:
	case <-changed:
	}
	return nil
}

// begin finds where to begin.
func (r *eventReader) begin() error {
	if err := r.files.list(); err != nil {
		return err
	}
	r.pos = r.files.first()
	r.mark.pos = r.pos
	end, _ := r.log.state()
	defer func() { r.from = r.mark }()
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
		switch {
		case got.n == 0: // nothing is left of them
			r.buf, r.pos, r.gap = nil, end, true
		case got.off != at: // they were deleted before they were read
			r.buf, r.pos, r.gap = nil, got.off, true
			fallthrough
		default:
			r.buf = append(r.buf, chunk[:got.n]...)
		}
	}
}

// give emits an event, if it is selected. A line that is none is left out: a
// crash of the machine may leave such.
func (r *eventReader) give(ctx context.Context, line []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ev, seq, ok := parseEvent(line)
	if before := r.mark.seq; ok && before != 0 && seq > before+1 && !r.gap { // the disk was full
		// Of one that follows what reading began behind, whoever reads again has been told.
		r.gap, r.told = true, r.mark == r.from
	}
	if r.gap && ok {
		if err := r.tellGap(seq); err != nil {
			return err
		}
	}
	r.pos += int64(len(line)) + 1
	r.mark = mark{pos: r.pos, sum: checksum(line), seq: max(seq, r.mark.seq)}
	if !ok || !r.lets(ev) {
		r.passed = true
		return nil
	}
	r.passed = false
	ev.Cursor = r.cursor()
	return r.to.Emit(EventEntry{Event: ev})
}

// tellGap emits how many events are missing before the one that has number seq, or
// ends a reading that is to miss none.
func (r *eventReader) tellGap(seq uint64) error {
	missed, told := 0, r.told
	if before := r.mark.seq; before != 0 && seq > before {
		missed = int(seq - before - 1)
	}
	r.gap, r.told = false, false
	if !r.query.Lossless || told {
		r.mark = mark{pos: r.pos, sum: 0, seq: max(seq, 1) - 1}
		return r.to.Emit(EventEntry{Gap: true, Missed: missed, Event: app.Event{Cursor: r.cursor()}})
	}
	f := app.Errorf(app.Exhausted, app.ReasonReaderTooSlow, "",
		"%d events were deleted before they were read, or could not be written: read faster, or go on without them from the cursor", missed)
	f.Cursor = r.cursor()
	return f
}

// lets tells whether an event is selected.
func (r *eventReader) lets(ev app.Event) bool {
	return r.selects(ev) && !ev.Time.Before(r.query.Since) && (r.query.Until.IsZero() || ev.Time.Before(r.query.Until))
}

// selects is lets but for the time.
func (r *eventReader) selects(ev app.Event) bool {
	return (r.query.App == "" || ev.App == r.query.App) &&
		(r.query.Instance == "" || string(ev.Instance) == r.query.Instance) &&
		ev.Severity >= r.query.Severity &&
		(r.grep == nil || r.grep.MatchString(ev.Message))
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
		ev, _, ok := parseEvent(buf[i+1:])
		if ok && r.selects(ev) && (r.query.Until.IsZero() || ev.Time.Before(r.query.Until)) {
			n--
		}
		buf = buf[:i+1]
		end = low + int64(i+1)
	}
	if end > r.pos { // what a cursor told of is left out with the rest
		r.pos, r.gap, r.told = end, false, false
		return r.markHere()
	}
	return nil
}

// markHere makes the mark one of the event that ends where reading begins.
func (r *eventReader) markHere() error {
	r.mark = mark{pos: r.pos}
	line, ok, err := r.lineBefore(r.pos)
	if err != nil || !ok {
		return err
	}
	_, seq, _ := parseEvent(line)
	r.mark.sum, r.mark.seq = checksum(line), seq
	return nil
}

// lineBefore returns the line that ends at pos; false where there is none.
func (r *eventReader) lineBefore(pos int64) (line []byte, ok bool, err error) {
	var buf []byte
	for low := pos; ; {
		chunk, err := r.files.readBack(make([]byte, chunkSize), low)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
		buf = append(chunk, buf...)
		text, ended := bytes.CutSuffix(buf, []byte{'\n'})
		if !ended {
			return nil, false, nil
		}
		if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
			return text[i+1:], true, nil
		}
		if low -= int64(len(chunk)); len(chunk) == 0 {
			return text, true, nil
		}
	}
}

func parseEvent(line []byte) (ev app.Event, seq uint64, ok bool) {
	var rec record
	if json.Unmarshal(line, &rec) != nil || rec.ID == "" {
		return app.Event{}, 0, false
	}
	return app.Event{
		ID: rec.ID, Time: rec.Time, App: rec.App, Instance: rec.Instance, Actor: rec.Actor,
		Severity: rec.Severity, Message: rec.Message, Attributes: rec.Attributes,
	}, rec.Seq, true
}
