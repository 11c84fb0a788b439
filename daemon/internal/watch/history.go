package watch

// maxRemoved bounds the removed keys that a history remembers.
const maxRemoved = 1024

// history knows when each key changed last, counted in changes of the hub.
type history[K comparable] struct {
	seq     uint64
	floor   uint64       // what was removed up to here may be forgotten
	changed map[K]uint64 // of keys that have a value
	removed map[K]uint64 // of keys that had one
}

func (h *history[K]) set(k K) {
	h.seq++
	h.changed[k] = h.seq
	delete(h.removed, k)
}

func (h *history[K]) remove(k K) {
	if len(h.removed) >= maxRemoved {
		clear(h.removed)
		h.floor = h.seq
	}
	h.seq++
	h.removed[k] = h.seq
	delete(h.changed, k)
}

// since returns the keys that changed after seq, and false where some may be forgotten.
func (h *history[K]) since(seq uint64) ([]K, bool) {
	if seq < h.floor || seq > h.seq {
		return nil, false
	}
	var keys []K
	for _, m := range []map[K]uint64{h.changed, h.removed} {
		for k, at := range m {
			if at > seq {
				keys = append(keys, k)
			}
		}
	}
	return keys, true
}
