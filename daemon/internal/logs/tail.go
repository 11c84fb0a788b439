package logs

import "cmp"

// tail moves the beginning of reading so that lines lines are left, or fewer
// where there are fewer.
func (r *reader) tail(ins []*instance, lines int) error {
	return tail(ins, func(b *backward) bool {
		if lines > 0 && !r.lets(b.secret.hide(b.line, false)) {
			return true
		}
		lines--
		return lines >= 0
	}, nil)
}

// tail goes back over the lines of all the streams, newest first, as long as
// another is wanted, and makes reading begin there.
func tail(ins []*instance, more func(*backward) bool, seen func(size int64)) error {
	var heads []*backward
	for _, in := range ins {
		for _, s := range in.streams {
			b, ok, err := s.back()
			if err != nil {
				return err
			}
			if ok {
				heads = append(heads, b)
			}
		}
	}
	left := heads
	begin := map[*stream]int64{}
	for _, b := range heads {
		begin[b.stream] = b.start
	}
	for len(left) > 0 {
		i := newest(left)
		b := left[i]
		if b.found {
			if !more(b) {
				break
			}
			if seen != nil {
				seen(begin[b.stream] - b.start)
			}
			begin[b.stream] = b.start
		}
		ok, err := b.prev()
		if err != nil {
			return err
		}
		if !ok {
			left = append(left[:i:i], left[i+1:]...)
		}
	}
	for s, at := range begin {
		s.pos = at
	}
	return nil
}

// newest picks the stream whose line comes last.
func newest(list []*backward) int {
	best := 0
	for i, b := range list {
		if cmp.Or(cmp.Compare(b.time(), list[best].time()), compareStreams(b.stream, list[best].stream)) > 0 {
			best = i
		}
	}
	return best
}
