package logs

import (
	"bytes"
	"math"
	"slices"
	"time"
)

const (
	// longestLine is the longest entry; what is longer comes in parts.
	longestLine = 16 << 10
	chunkSize   = 32 << 10
)

// stream makes entries of one stream's bytes.
type stream struct {
	files
	instance *instance
	token    func(instance string) (string, bool)
	secret   secret
	pos      int64 // of buf[0]; all before it has been delivered
	buf      []byte
	searched int     // bytes of buf without a line end
	batches  []batch // that hold buf
	time     int64   // of the newest entry, or what stands in where no batch is known
	hold     bool    // bytes without an entry in the index wait for it
	held     bool    // some do
	queued   bool
	gap      bool  // bytes are gone before what comes next
	missed   int64 // how many
	told     bool  // the gap was there when reading began
	until    int64 // nanoseconds of Unix time: what came then or later is not for this reading
	ended    bool  // the rest came then
	within   bool  // the newest entry was not its line's last part
	rested   int64 // end of the line without an end that was looked at last
}

// isOver tells whether the bytes that were read next came too late for this reading,
// and so all that follows. A line belongs to the time that it began at.
func (s *stream) isOver() bool {
	if s.until != math.MaxInt64 && !s.within && len(s.buf) > 0 && s.timeOf(s.pos) >= s.until {
		s.ended, s.buf, s.batches = true, nil, nil
	}
	return s.ended
}

// head is the time of the next entry, as far as the index knows.
func (s *stream) head() int64 {
	if len(s.buf) > 0 {
		return s.timeOf(s.pos)
	}
	if b, ok := s.batchOf(s.pos); ok {
		return max(s.time, b.time)
	}
	return s.time
}

// timeOf returns the time of the batch that holds off, never one before an
// earlier entry's: the clock may have been set back.
func (s *stream) timeOf(off int64) int64 {
	i, found := slices.BinarySearchFunc(s.batches, off, byOffset)
	if !found {
		i--
	}
	if i >= 0 {
		return max(s.time, s.batches[i].time)
	}
	if s.time == 0 { // the index is lost
		_, when := s.end()
		return when.UnixNano()
	}
	return s.time
}

// fill reads more bytes and tells whether there were any.
//
// The index comes last: the keeper writes an entry behind the bytes it is of.
func (s *stream) fill() (bool, error) {
	at := s.pos + int64(len(s.buf))
	s.buf = slices.Grow(s.buf, chunkSize)
	chunk := s.buf[len(s.buf) : len(s.buf)+chunkSize]
	got, err := s.readAt(chunk, at)
	if err != nil || got.n == 0 {
		return false, err
	}
	if got.off != at { // deleted before it was read
		s.lose(got.off - s.pos)
		s.buf, s.searched, s.pos, s.batches = s.buf[:0], 0, got.off, nil
		return s.fill()
	}
	n := int64(got.n)
	if s.held = false; s.hold {
		n = min(n, s.unnoted(got.start)-at)
		s.held = n < int64(got.n)
	}
	if n <= 0 {
		return false, nil
	}
	if s.secret.unknown { // of a new instance it may not be known at once
		s.secret = secretOf(s.token(s.instance.id))
	}
	s.addBatches(s.files.batches(got.start, at, at+n))
	s.buf = s.buf[:len(s.buf)+int(n)]
	return true, nil
}

// lose notes that n bytes before what comes next are gone.
func (s *stream) lose(n int64) {
	s.gap = true
	s.missed += n
}

// addBatches adds those of the newest bytes; the first may be there already.
func (s *stream) addBatches(more []batch) {
	for _, b := range more {
		if n := len(s.batches); n == 0 || b.off > s.batches[n-1].off {
			s.batches = append(s.batches, b)
		} else if b.off == s.batches[n-1].off {
			s.batches[n-1] = b
		}
	}
}

// ready returns the length of the next entry, reading on as needed; 0 where it
// is not complete. partial says that its line goes on.
func (s *stream) ready() (n int, partial bool, err error) {
	for {
		if n, partial := s.piece(); n > 0 {
			return n, partial, nil
		}
		if more, err := s.fill(); err != nil || !more {
			return 0, false, err
		}
	}
}

// piece returns the length of the next entry in buf, 0 where it is not complete.
func (s *stream) piece() (n int, partial bool) {
	within := s.buf[:min(len(s.buf), longestLine)]
	if i := bytes.IndexByte(within[min(s.searched, len(within)):], '\n'); i >= 0 {
		return s.searched + i + 1, false
	}
	s.searched = len(within)
	if len(within) < longestLine {
		return 0, false
	}
	if n = s.secret.cut(s.buf, longestLine); n == 0 {
		n = longestLine // a token of nothing but itself: not one of ours
	}
	return n, true
}

// rest returns how much of a line without an end can be an entry: not its last
// bytes where they may be the beginning of a token, unless nothing follows.
func (s *stream) rest(final bool) int {
	if final {
		return len(s.buf)
	}
	return s.secret.cut(s.buf, len(s.buf))
}

// take returns the next n bytes as an entry. final says that nothing follows.
func (s *stream) take(n int, partial, final bool) Entry {
	s.time = s.timeOf(s.pos)
	e := Entry{
		Time: time.Unix(0, s.time), App: s.instance.app, Instance: s.instance.id, Stream: s.name,
		// What is behind them in the buffer is never written to again.
		Data: s.secret.hide(s.buf[:n:n], final), Partial: partial,
	}
	s.pos += int64(n)
	s.buf = s.buf[n:]
	s.searched = 0
	s.within = partial
	i, found := slices.BinarySearchFunc(s.batches, s.pos, byOffset)
	if !found {
		i = max(0, i-1)
	}
	s.batches = s.batches[i:]
	if len(s.buf) == 0 {
		s.buf = nil // many streams rest most of the time
	}
	return e
}
