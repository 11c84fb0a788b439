package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// bbolt maps its file and trusts every page of it: a damaged one makes it panic,
// fault, or go round in circles. So a file is read once without bbolt before bbolt
// gets to see it, with every offset checked. The format is that of bbolt's
// internal/common: pages with a header of 16 bytes, elements of 16, numbers in the
// machine's order of bytes. The first two pages are heads, and the newer one counts.

// content is what a file holds: bucket → key → value. It shares the file's bytes.
type content map[string]map[string][]byte

const (
	magic       = 0xED0CDAED
	version     = 2
	headerSize  = 16
	elementSize = 16
	headSize    = 80 // of a head, with its header

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketFlag   = 0x01

	noFreelist = ^uint64(0)
	// maxDepth is how far below its root a page may be: with two children a page
	// that is more pages than a file can have.
	maxDepth = 40
)

var order = binary.NativeEndian

// image is a file that is being scanned.
type image struct {
	data  []byte
	size  uint64          // of a page
	pages uint64          // that are in use, or were
	taken map[uint64]bool // what is in use; no page is twice
}

// head is what one of the first two pages says.
type head struct {
	pageSize, root, freelist, pages, txid uint64
}

// scan returns what a file holds, or what is wrong with it.
func scan(data []byte) (content, error) {
	h, err := heads(data)
	if err != nil {
		return nil, err
	}
	m := &image{data: data, size: h.pageSize, pages: h.pages, taken: map[uint64]bool{}}
	if whole := m.pages * m.size; m.pages > uint64(len(data)) || whole > uint64(len(data)) {
		return nil, fmt.Errorf("cut off: %d of %d bytes are left", len(data), whole)
	}
	all := content{}
	err = m.walk(h.root, func(flags uint32, key, value []byte) error {
		if flags != bucketFlag {
			return fmt.Errorf("%q is no bucket", key)
		}
		pairs := map[string][]byte{}
		all[string(key)] = pairs
		return m.bucket(value, func(flags uint32, key, value []byte) error {
			if flags != 0 {
				return fmt.Errorf("%q is no value", key)
			}
			pairs[string(key)] = value
			return nil
		})
	})
	if err == nil {
		err = m.free(h.freelist)
	}
	return all, err
}

// heads returns the newer head. Both must be whole: without the newer one bbolt
// would go back by a change, and say nothing.
func heads(data []byte) (head, error) {
	first, err := readHead(data, 0)
	if err != nil {
		return head{}, err
	}
	second, err := readHead(data, first.pageSize)
	switch {
	case err != nil:
		return head{}, err
	case second.pageSize != first.pageSize:
		return head{}, errors.New("its heads differ")
	case second.txid > first.txid:
		return second, nil
	}
	return first, nil
}

func readHead(data []byte, at uint64) (head, error) {
	if at+headSize > uint64(len(data)) {
		return head{}, fmt.Errorf("cut off: %d bytes are left", len(data))
	}
	b := data[at+headerSize : at+headSize]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:56]) // it never fails
	h := head{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), pages: order.Uint64(b[40:]), txid: order.Uint64(b[48:]),
	}
	const least, most = 1 << 10, 1 << 24
	switch {
	case order.Uint32(b) != magic || order.Uint32(b[4:]) != version || order.Uint64(b[56:]) != sum.Sum64():
		return head{}, errors.New("it does not begin as it should")
	case h.pageSize < least || h.pageSize > most:
		return head{}, fmt.Errorf("its pages have %d bytes", h.pageSize)
	}
	return h, nil
}

// page returns a page with those that it overflows into, and takes them.
func (m *image) page(id uint64) ([]byte, error) {
	if id < 2 || id >= m.pages {
		return nil, fmt.Errorf("page %d is beyond its %d pages", id, m.pages)
	}
	b := m.data[id*m.size:]
	more := uint64(order.Uint32(b[12:]))
	switch {
	case order.Uint64(b) != id:
		return nil, fmt.Errorf("page %d says that it is %d", id, order.Uint64(b))
	case id+more >= m.pages:
		return nil, fmt.Errorf("page %d is longer than the file", id)
	}
	for i := id; i <= id+more; i++ {
		if m.taken[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		m.taken[i] = true
	}
	return b[:(more+1)*m.size], nil
}

// visit is told of every element of a bucket, in the order of keys.
type visit func(flags uint32, key, value []byte) error

// walk goes through the tree below a page.
func (m *image) walk(root uint64, f visit) error {
	return m.tree(root, nil, nil, 0, f)
}

// tree goes through the pages below one whose keys are from least on and below end;
// nil is no limit.
func (m *image) tree(id uint64, least, end []byte, depth int, f visit) error {
	p, err := m.page(id)
	if err != nil {
		return err
	}
	switch kind := order.Uint16(p[8:]); {
	case kind == leafPage:
		return leaf(p, least, end, f)
	case kind != branchPage || depth == maxDepth || order.Uint16(p[10:]) == 0:
		return fmt.Errorf("page %d is of no kind that is looked for", id)
	}
	n := int(order.Uint16(p[10:]))
	for i := range n {
		_, key, _, err := element(p, i, false)
		if err != nil {
			return err
		}
		next := end
		if i+1 < n {
			if _, next, _, err = element(p, i+1, false); err != nil {
				return err
			}
		}
		if !within(key, least, next) {
			return fmt.Errorf("page %d is out of order", id)
		}
		if err := m.tree(order.Uint64(p[headerSize+i*elementSize+8:]), key, next, depth+1, f); err != nil {
			return err
		}
	}
	return nil
}

func within(key, least, end []byte) bool {
	return bytes.Compare(key, least) >= 0 && (end == nil || bytes.Compare(key, end) < 0)
}

// leaf goes through a page's elements.
func leaf(p, least, end []byte, f visit) error {
	for i := range int(order.Uint16(p[10:])) {
		flags, key, value, err := element(p, i, true)
		if err != nil {
			return err
		}
		if !within(key, least, end) || i > 0 && bytes.Equal(key, least) {
			return errors.New("its keys are out of order")
		}
		least = key
		if err := f(flags, key, value); err != nil {
			return err
		}
	}
	return nil
}

// element returns a page's i-th element. Where it lies is counted from where its
// description does.
func element(p []byte, i int, ofLeaf bool) (flags uint32, key, value []byte, err error) {
	at := uint64(headerSize + i*elementSize)
	if at+elementSize > uint64(len(p)) {
		return 0, nil, nil, errors.New("a page has more elements than it can hold")
	}
	e := p[at:]
	var pos, keySize, valueSize uint64
	if ofLeaf {
		flags, pos = order.Uint32(e), uint64(order.Uint32(e[4:]))
		keySize, valueSize = uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
	} else {
		pos, keySize = uint64(order.Uint32(e)), uint64(order.Uint32(e[4:]))
	}
	start := at + pos
	if keySize == 0 || start+keySize+valueSize > uint64(len(p)) {
		return 0, nil, nil, errors.New("an element lies outside of its page")
	}
	return flags, p[start : start+keySize], p[start+keySize : start+keySize+valueSize], nil
}

// bucket goes through a bucket. A small one lies within its value.
func (m *image) bucket(value []byte, f visit) error {
	const size = 16 // its root, and a sequence that nobody uses
	if len(value) < size {
		return errors.New("a bucket is too short")
	}
	if root := order.Uint64(value); root != 0 {
		return m.walk(root, f)
	}
	p := value[size:]
	if len(p) < headerSize || order.Uint16(p[8:]) != leafPage {
		return errors.New("a bucket has no page")
	}
	return leaf(p, nil, nil, f)
}

// free checks the list of free pages: one in use on it would be written over. One
// that is on neither side is only lost.
func (m *image) free(list uint64) error {
	if list == noFreelist {
		return nil
	}
	p, err := m.page(list)
	if err != nil {
		return err
	}
	if order.Uint16(p[8:]) != freelistPage {
		return errors.New("its list of free pages is none")
	}
	n, ids := uint64(order.Uint16(p[10:])), p[headerSize:]
	const overflow, idSize = 0xFFFF, 8
	if n == overflow {
		n, ids = order.Uint64(ids), ids[idSize:]
	}
	if n > uint64(len(ids))/idSize {
		return errors.New("its list of free pages is longer than its page")
	}
	for i := range n {
		id := order.Uint64(ids[i*idSize:])
		if id < 2 || id >= m.pages || m.taken[id] {
			return fmt.Errorf("page %d is used and free", id)
		}
		m.taken[id] = true
	}
	return nil
}
