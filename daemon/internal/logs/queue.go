package logs

import (
	"cmp"
	"container/heap"
)

// queue holds streams in the order of their next entries.
type queue struct{ heap streamHeap }

type queued struct {
	*stream
	time int64
}

func (q *queue) push(s *stream) {
	if !s.queued {
		s.queued = true
		heap.Push(&q.heap, queued{s, s.head()})
	}
}

func (q *queue) pop() (*stream, bool) {
	if len(q.heap) == 0 {
		return nil, false
	}
	s := heap.Pop(&q.heap).(queued).stream
	s.queued = false
	return s, true
}

// isNext tells whether the next entry of a stream that is not in the queue comes
// before all in it.
func (q *queue) isNext(s *stream) bool {
	return len(q.heap) == 0 || queued{s, s.head()}.before(q.heap[0])
}

// before tells whether the next entry of a stream comes before that of another.
func (a queued) before(b queued) bool {
	return cmp.Or(cmp.Compare(a.time, b.time), compareStreams(a.stream, b.stream)) < 0
}

// compareStreams orders streams whose next entries have the same time.
func compareStreams(a, b *stream) int {
	return cmp.Or(cmp.Compare(a.instance.id, b.instance.id), -cmp.Compare(a.name, b.name))
}

type streamHeap []queued

func (h streamHeap) Len() int           { return len(h) }
func (h streamHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h streamHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h *streamHeap) Push(x any)        { *h = append(*h, x.(queued)) }
func (h *streamHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
