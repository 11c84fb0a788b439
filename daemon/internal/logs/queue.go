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

// compareStreams orders streams whose next entries have the same time.
func compareStreams(a, b *stream) int {
	return cmp.Or(cmp.Compare(a.instance.id, b.instance.id), -cmp.Compare(a.name, b.name))
}

type streamHeap []queued

func (h streamHeap) Len() int      { return len(h) }
func (h streamHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h streamHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].time, h[j].time), compareStreams(h[i].stream, h[j].stream)) < 0
}
func (h *streamHeap) Push(x any) { *h = append(*h, x.(queued)) }
func (h *streamHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
