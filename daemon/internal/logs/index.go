package logs

import (
	"encoding/binary"
	"math"
	"os"
	"sort"
	"time"
)

const (
	indexSuffix = ".idx"
	// indexEntry is the size of an entry: big endian, nanoseconds of Unix time and
	// the offset of the batch's first byte, 8 bytes each.
	indexEntry = 16
	// indexChunk is how many entries are read at once.
	indexChunk = 512
)

// index is an open index of a segment. An index tells times, never which bytes there
// are. A machine that dies may leave one that is cut off, that ends in anything, or
// none: then what it lacks is made of what is known of the segment.
type index struct {
	file    *os.File
	n       int // entries
	segment fileInfo
	start   int64 // of the segment
}

// fileInfo is what an index goes by of its segment.
type fileInfo struct {
	size    int64
	written int64 // when its last byte came, nanoseconds of Unix time
}

func statFile(path string) fileInfo {
	st, err := os.Stat(path)
	if err != nil {
		return fileInfo{}
	}
	return fileInfo{st.Size(), st.ModTime().UnixNano()}
}

// openIndex opens the index of the segment that begins at start.
func (f *files) openIndex(start int64) *index {
	x := &index{start: start}
	if file, err := os.Open(f.path(start) + indexSuffix); err == nil {
		if st, err := file.Stat(); err == nil {
			x.file, x.n = file, int(st.Size()/indexEntry)
		} else {
			_ = file.Close()
		}
	}
	// Behind the index: an entry is written behind the bytes that it is of.
	x.segment = statFile(f.path(start))
	for x.n > 0 && !x.sound(x.at(x.n-1)) {
		x.n--
	}
	if !f.checked.extend(x) {
		x.n = 0
	}
	return x
}

func (x *index) close() {
	if x.file != nil {
		_ = x.file.Close()
	}
}

// sound tells whether an entry can be one of this segment.
func (x *index) sound(b batch) bool {
	return b.time > 0 && x.start <= b.off && b.off < x.start+x.segment.size
}

// checked is how far a segment's index was looked through: each byte of one is
// checked once, however often it is opened.
type checked struct {
	start  int64
	n      int
	last   int64 // offset of the last entry
	faulty bool
}

// extend checks what has come to an index, and tells whether it is one.
func (c *checked) extend(x *index) bool {
	if c.start != x.start || c.n > x.n {
		*c = checked{start: x.start}
	}
	if c.n == 0 {
		c.last = -1
	}
	for !c.faulty && c.n < x.n {
		chunk := x.read(c.n, indexChunk)
		for _, b := range chunk {
			c.faulty = c.faulty || !x.sound(b) || b.off <= c.last
			c.last = b.off
		}
		if c.n += len(chunk); len(chunk) == 0 {
			break
		}
	}
	return !c.faulty
}

// read returns up to n entries from i on.
func (x *index) read(i, n int) []batch {
	n = min(n, x.n-i)
	if n <= 0 {
		return nil
	}
	b := make([]byte, n*indexEntry)
	got, _ := x.file.ReadAt(b, int64(i)*indexEntry)
	list := make([]batch, got/indexEntry)
	for k := range list {
		e := b[k*indexEntry:]
		list[k] = batch{int64(binary.BigEndian.Uint64(e)), int64(binary.BigEndian.Uint64(e[8:]))}
	}
	return list
}

func (x *index) at(i int) batch {
	if list := x.read(i, 1); len(list) == 1 {
		return list[0]
	}
	return batch{}
}

// before returns the batch of the bytes that come before the first entry: all where
// there is none. They came no later than what follows them.
func (x *index) before() batch {
	if x.n > 0 {
		return batch{x.at(0).time, x.start}
	}
	return batch{x.segment.written, x.start}
}

// holding returns the number of the batch that holds off, -1 for before's.
func (x *index) holding(off int64) int {
	return sort.Search(x.n, func(i int) bool { return x.at(i).off > off }) - 1
}

// batches returns those that hold bytes of [from, to) of the segment.
func (f *files) batches(start, from, to int64) []batch {
	x := f.openIndex(start)
	defer x.close()
	var list []batch
	first := x.holding(from)
	if first < 0 {
		list = append(list, x.before())
	}
	for i := max(0, first); ; i += indexChunk {
		chunk := x.read(i, indexChunk)
		end := sort.Search(len(chunk), func(k int) bool { return chunk[k].off >= to })
		list = append(list, chunk[:end]...)
		if end < len(chunk) || len(chunk) < indexChunk {
			return list
		}
	}
}

// batchOf returns the batch that holds off; false where there are no bytes.
func (f *files) batchOf(off int64) (batch, bool) {
	start, ok := f.of(off)
	if !ok {
		return batch{}, false
	}
	x := f.openIndex(start)
	defer x.close()
	if x.segment.size == 0 {
		return batch{}, false
	}
	if i := x.holding(off); i >= 0 {
		return x.at(i), true
	}
	return x.before(), true
}

// lastBatch returns the newest batch that a segment's index has.
func (f *files) lastBatch(start int64) (batch, bool) {
	x := f.openIndex(start)
	defer x.close()
	if x.n == 0 {
		return batch{}, false
	}
	return x.at(x.n - 1), true
}

// since returns the offset of the first batch at or after a time, false where all
// came before. The clock may have been set back meanwhile, so it looks at all.
func (f *files) since(t int64) (off int64, ok bool) {
	return f.firstIn(func(x *index) (int64, bool) {
		for i := 0; i < x.n; i += indexChunk {
			for k, b := range x.read(i, indexChunk) {
				switch {
				case b.time < t:
				case i+k == 0:
					return x.start, true
				default:
					return b.off, true
				}
			}
		}
		return 0, false
	})
}

// sinceLost is since of what has no entry in the index and will get none: it may be
// as new as the segment is, and to show too much is better than too little.
func (f *files) sinceLost(t int64) (off int64, ok bool) {
	return f.firstIn(func(x *index) (int64, bool) {
		last := batch{math.MinInt64, x.start}
		if x.n > 0 {
			last = x.at(x.n - 1)
		}
		return last.off, x.segment.size > 0 && x.segment.written >= t && x.segment.written > last.time
	})
}

// firstIn returns what the first segment gives that gives something.
func (f *files) firstIn(find func(*index) (int64, bool)) (off int64, ok bool) {
	for _, start := range f.starts {
		x := f.openIndex(start)
		off, ok := find(x)
		x.close()
		if ok {
			return off, true
		}
	}
	return 0, false
}

// batch is bytes that came together: an entry of the index.
type batch struct {
	time int64 // nanoseconds of Unix time
	off  int64 // of the first byte
}

// noteDelay is longer than the keeper takes from the bytes to their entry. What
// has none by then, because the keeper was killed between the two, gets none.
const noteDelay = 100 * time.Millisecond
