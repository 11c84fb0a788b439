package pump

import (
	"encoding/binary"
	"os"
)

// putEntry writes an entry of an index.
func putEntry(index *os.File, at, nanoseconds, offset int64) error {
	var b [entry]byte
	binary.BigEndian.PutUint64(b[:8], uint64(nanoseconds))
	binary.BigEndian.PutUint64(b[8:], uint64(offset))
	_, err := index.WriteAt(b[:], at)
	return err
}

// mend makes an index one that can be gone on with, and returns its size: what
// cannot be an entry of its segment, which begins at start, is cut
// off its end, and where nothing is left, one entry stands for all bytes.
func mend(index *os.File, entries, start int64, segment *os.File) (int64, error) {
	info, err := segment.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	whole := entries - entries%entry
	for whole > 0 {
		var b [entry]byte
		if _, err := index.ReadAt(b[:], whole-entry); err != nil {
			return 0, err
		}
		offset := int64(binary.BigEndian.Uint64(b[8:]))
		if binary.BigEndian.Uint64(b[:8]) > 0 && start <= offset && offset < start+size {
			break
		}
		whole -= entry
	}
	if whole < entries {
		if err := index.Truncate(whole); err != nil {
			return 0, err
		}
	}
	if whole > 0 || size == 0 {
		return whole, nil
	}
	return entry, putEntry(index, 0, info.ModTime().UnixNano(), start)
}
