package logs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// place sets where reading an instance begins that was there from the start.
func (r *reader) place(in *instance, from *position) error {
	for _, s := range in.streams {
		if from != nil {
			if err := s.resume(from); err != nil {
				return err
			}
		}
		if !r.query.Since.IsZero() {
			if err := s.skipTo(r.query.Since.UnixNano()); err != nil {
				return err
			}
		}
	}
	return nil
}

// resume moves the stream to where a cursor was, or behind what is gone since.
func (s *stream) resume(from *position) error {
	at, listed := from.at[s.instance.id]
	off, known := at.offsets[s.name]
	end, _ := s.end()
	switch {
	case known && len(s.starts) == 0:
		s.pos = off // nothing is left, what may still come begins there or behind it
	case known && off < s.first():
		s.lose(s.first() - off)
		s.pos, s.told = s.first(), true
	case known:
		s.pos = min(off, end) // a machine that died may have lost bytes that were delivered
	case listed: // by a cursor of a read of the other stream
		return s.skipTo(from.time)
	case s.instance.first < from.time-beganBefore:
		s.pos = end
	}
	return nil
}

// vanished returns the gaps that instances of a cursor have left of which nothing is
// there any more. Nobody knows whether they had written more than was delivered.
func (r *reader) vanished(from *position) (gaps []Entry) {
	for id, at := range from.at {
		if at.done || r.all[id] == nil && r.store.isThere(r.query.App, id) {
			continue // the latter is not of this reading
		}
		for stream, off := range at.offsets {
			left := r.all[id] != nil && (off == 0 || r.all[id].has(stream) || !r.store.cfg.Gone(id))
			if !left && slices.Contains(r.query.streams(), stream) {
				gaps = append(gaps, Entry{App: r.query.App, Instance: id, Stream: stream, Gap: true})
			}
		}
	}
	slices.SortFunc(gaps, func(a, b Entry) int { return strings.Compare(a.Instance+a.Stream, b.Instance+b.Stream) })
	return gaps
}

func (s *Store) isThere(name, instance string) bool {
	_, err := os.Stat(s.instanceDir(name, instance))
	return err == nil
}

// skipTo leaves out the lines that began before a time.
func (s *stream) skipTo(t int64) error {
	at, err := s.lineAt(t)
	s.pos = max(s.pos, at)
	return err
}

// lineAt returns where the first line begins that came at or after a time: at the
// end where none did.
func (s *stream) lineAt(t int64) (int64, error) {
	// The end comes first: what is behind it comes from now on.
	end, _ := s.end()
	off, ok := s.sinceNoted(t)
	if !ok {
		off = end // unless a line is being written
	}
	if off <= s.first() {
		return s.first(), nil
	}
	return s.lineStart(off)
}

// sinceNoted is since of an index that tells of all there is: bytes whose entry is
// on its way are the newest, and not to be taken for old ones.
func (s *stream) sinceNoted(t int64) (off int64, ok bool) {
	for wait := time.Duration(0); ; wait += time.Millisecond {
		// Asked before the index is: what has its entry by then is found in it.
		pending := s.pending() && wait < noteDelay
		if off, ok = s.since(t); ok {
			return off, true
		}
		if !pending {
			return s.sinceLost(t)
		}
		<-time.After(time.Millisecond)
	}
}

// lineStart returns where the first line begins at or behind off. Without one it
// is off: then the rest of a line that began before comes.
func (s *stream) lineStart(off int64) (int64, error) {
	buf := make([]byte, chunkSize)
	for at := off - 1; ; {
		got, err := s.readAt(buf, at)
		if err != nil || got.n == 0 {
			return max(off, at), err
		}
		if i := bytes.IndexByte(buf[:got.n], '\n'); i >= 0 {
			return got.off + int64(i) + 1, nil
		}
		at = got.off + int64(got.n)
	}
}

// backward finds the lines of a stream from its end on.
type backward struct {
	*stream
	start int64 // of the line found last; the end at first
	found bool  // start is that of a line
	buf   []byte
	low   int64 // offset of buf[0]
	batch batch // that holds start
	line  []byte
}

// time is that of the line found, or before any is found a time that the
// stream's newest line is not after.
func (b *backward) time() int64 { return b.batch.time }

// back returns a backward at the stream's end, or where what is to be read ends;
// false where there is nothing.
func (s *stream) back() (b *backward, ok bool, err error) {
	end, _ := s.end()
	if s.until != math.MaxInt64 {
		at, err := s.lineAt(s.until)
		if err != nil {
			return nil, false, err
		}
		end = min(end, at)
	}
	if end <= s.pos {
		return nil, false, nil
	}
	b = &backward{stream: s, start: end, low: end}
	b.batch, _ = s.batchOf(end - 1)
	return b, true, nil
}

// prev goes one line back, or a part of one that is too long, not beyond pos;
// false where there is none.
func (b *backward) prev() (bool, error) {
	end := b.start
	if end <= b.pos {
		return false, nil
	}
	search := end - 1 // a line end there is the line's own
	for {
		if i := bytes.LastIndexByte(b.buf[:max(0, search-b.low)], '\n'); i >= 0 {
			b.start = b.low + int64(i) + 1
			break
		}
		if b.low <= b.pos {
			b.start = b.pos
			break
		}
		if end-b.low > 2*longestLine {
			b.start = b.low + int64(b.secret.cut(b.buf, int(end-b.low-longestLine)))
			break
		}
		if err := b.more(); err != nil {
			return false, err
		}
	}
	b.start = max(b.start, b.pos)
	b.line = b.buf[b.start-b.low : end-b.low]
	b.buf = b.buf[:b.start-b.low]
	if b.start < b.batch.off {
		b.batch, _ = b.batchOf(b.start)
	}
	b.found = true
	return true, nil
}

// more reads what is before buf.
func (b *backward) more() error {
	chunk, err := b.readBack(make([]byte, chunkSize), b.low)
	if err == nil && len(chunk) == 0 || errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF) {
		b.pos = b.low // what was before is gone
		return nil
	}
	if err != nil {
		return err
	}
	b.low -= int64(len(chunk))
	b.buf = append(chunk, b.buf...)
	return nil
}
