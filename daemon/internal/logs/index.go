package logs

import (
	"encoding/binary"
	"os"
	"slices"
	"sort"
)

const (
	indexSuffix = ".idx"
	// indexEntry is the size of an entry: big endian, nanoseconds of Unix time and
	// the offset of the batch's first byte, 8 bytes each.
	indexEntry = 16
	// indexChunk is how many entries are read at once.
	indexChunk = 512
)

// index is an open index of a segment.
type index struct {
	file *os.File
	n    int // entries
}

// openIndex opens the index of the segment that begins at start. A missing one
// is empty.
func (f *files) openIndex(start int64) *index {
	file, err := os.Open(f.path(start) + indexSuffix)
	if err != nil {
		return &index{}
	}
	st, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return &index{}
	}
	return &index{file, int(st.Size() / indexEntry)}
}

func (x *index) close() {
	if x.file != nil {
		_ = x.file.Close()
	}
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

// holding returns the number of the batch that holds off, -1 for none.
func (x *index) holding(off int64) int {
	return sort.Search(x.n, func(i int) bool { return x.at(i).off > off }) - 1
}

// batches returns those that hold bytes of [from, to) of the segment.
func (f *files) batches(start, from, to int64) []batch {
	x := f.openIndex(start)
	defer x.close()
	var list []batch
	for i := max(0, x.holding(from)); ; i += indexChunk {
		chunk := x.read(i, indexChunk)
		end, _ := slices.BinarySearchFunc(chunk, to, byOffset)
		list = append(list, chunk[:end]...)
		if end < len(chunk) || len(chunk) < indexChunk {
			return list
		}
	}
}

// batchOf returns the batch that holds off.
func (f *files) batchOf(off int64) (batch, bool) {
	start, ok := f.of(off)
	if !ok {
		return batch{}, false
	}
	x := f.openIndex(start)
	defer x.close()
	i := x.holding(off)
	if i < 0 {
		return batch{}, false
	}
	return x.at(i), true
}

// lastBatch returns the newest batch of a segment.
func (f *files) lastBatch(start int64) (batch, bool) {
	x := f.openIndex(start)
	defer x.close()
	if x.n == 0 {
		return batch{}, false
	}
	return x.at(x.n - 1), true
}

// since returns the offset of the first batch at or after a time, false where
// all came before.
func (f *files) since(t int64) (off int64, ok bool) {
	for _, start := range f.starts {
		x := f.openIndex(start)
		i := sort.Search(x.n, func(i int) bool { return x.at(i).time >= t })
		found := i < x.n
		if found {
			off = x.at(i).off
		}
		x.close()
		if found {
			return off, true
		}
	}
	return 0, false
}
