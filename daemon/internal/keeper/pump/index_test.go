package pump

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a machine that died has left of an index is gone on with.
func TestMend(t *testing.T) {
	entryOf := func(time, offset uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, time), offset)
	}
	one, two := entryOf(1, 100), entryOf(2, 104)
	written := time.Unix(1000, 0)
	for name, tt := range map[string]struct{ data, index, want []byte }{
		"sound":            {make([]byte, 8), append(one, two...), append(one, two...)},
		"cut off":          {make([]byte, 8), append(one, two[:5]...), one},
		"zeros at its end": {make([]byte, 8), append(one, make([]byte, 40)...), one},
		"of more bytes":    {make([]byte, 4), append(one, two...), one},
		"missing":          {make([]byte, 8), nil, entryOf(uint64(written.UnixNano()), 100)},
		"rubbish":          {make([]byte, 8), bytes.Repeat([]byte{0x17}, 50), entryOf(uint64(written.UnixNano()), 100)},
		"of no bytes":      {nil, append(one, two...), nil},
	} {
		path := filepath.Join(t.TempDir(), "stdout.100")
		for p, b := range map[string][]byte{path: tt.data, path + IndexSuffix: tt.index} {
			if err := os.WriteFile(p, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
		segment, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer segment.Close()
		index, err := os.OpenFile(path+IndexSuffix, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer index.Close()
		n, err := mend(index, int64(len(tt.index)), 100, segment)
		got, rerr := os.ReadFile(path + IndexSuffix)
		if err != nil || rerr != nil || n != int64(len(tt.want)) || !bytes.Equal(got, tt.want) {
			t.Errorf("%s: %d bytes, %v: %x, want %x", name, n, err, got, tt.want)
		}
	}
}
