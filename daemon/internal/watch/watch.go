// Package watch holds keyed state that many can watch: a snapshot first, then
// what changes, coalesced per key so that a slow watcher costs nothing.
package watch

import (
	"context"
	"maps"
	"sync"
)

// Hub holds the newest value of each key.
type Hub[K comparable, V any] struct {
	mu       sync.Mutex
	values   map[K]V
	watchers map[*Watcher[K, V]]struct{}
	history  history[K]
}

// NewHub returns an empty hub.
func NewHub[K comparable, V any]() *Hub[K, V] {
	return &Hub[K, V]{
		values: map[K]V{}, watchers: map[*Watcher[K, V]]struct{}{},
		history: history[K]{changed: map[K]uint64{}, removed: map[K]uint64{}},
	}
}

// Set makes v the value of k.
func (h *Hub[K, V]) Set(k K, v V) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values[k] = v
	h.history.set(k)
	h.touch(k)
}

// Delete removes k.
func (h *Hub[K, V]) Delete(k K) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.values[k]; !ok {
		return
	}
	delete(h.values, k)
	h.history.remove(k)
	h.touch(k)
}

// Get returns the value of k.
func (h *Hub[K, V]) Get(k K) (V, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.values[k]
	return v, ok
}

// All returns a copy of everything.
func (h *Hub[K, V]) All() map[K]V {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.values)
}

// touch marks k dirty for every watcher. h.mu is held.
func (h *Hub[K, V]) touch(k K) {
	for w := range h.watchers {
		w.dirty[k] = struct{}{}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Watch returns a watcher and, at the same moment, a copy of everything: Next
// gives exactly what changes after it. Stop must be called.
func (h *Hub[K, V]) Watch() (*Watcher[K, V], map[K]V) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.watch(), maps.Clone(h.values)
}

// Resume returns a watcher whose first Take gives what changed after seq, which
// an earlier Watcher of this hub had reached. It is false where that is not known
// any more: Watch again.
func (h *Hub[K, V]) Resume(seq uint64) (*Watcher[K, V], bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed, ok := h.history.since(seq)
	if !ok {
		return nil, false
	}
	w := h.watch()
	w.seq = seq
	for _, k := range changed {
		w.dirty[k] = struct{}{}
	}
	if len(changed) > 0 {
		w.wake <- struct{}{} // it holds one, and nobody else knows it yet
	}
	return w, true
}

// watch registers a watcher that has seen everything. h.mu is held.
func (h *Hub[K, V]) watch() *Watcher[K, V] {
	w := &Watcher[K, V]{hub: h, dirty: map[K]struct{}{}, wake: make(chan struct{}, 1), seq: h.history.seq}
	h.watchers[w] = struct{}{}
	return w
}

// Watcher sees what changes.
type Watcher[K comparable, V any] struct {
	hub   *Hub[K, V]
	dirty map[K]struct{} // guarded by hub.mu
	seq   uint64         // guarded by hub.mu
	wake  chan struct{}
}

// Seq tells how far the watcher has come: what Watch and Take have returned, for
// Resume.
func (w *Watcher[K, V]) Seq() uint64 {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	return w.seq
}

// Wake is signalled when Take has something to return.
func (w *Watcher[K, V]) Wake() <-chan struct{} { return w.wake }

// Take returns what changed since the last call: the newest values, and the
// keys that are gone.
func (w *Watcher[K, V]) Take() (changed map[K]V, removed []K) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for k := range w.dirty {
		if v, ok := w.hub.values[k]; ok {
			if changed == nil {
				changed = map[K]V{}
			}
			changed[k] = v
		} else {
			removed = append(removed, k)
		}
	}
	clear(w.dirty)
	w.seq = w.hub.history.seq
	return changed, removed
}

// Next waits for a change and returns it as Take does.
func (w *Watcher[K, V]) Next(ctx context.Context) (changed map[K]V, removed []K, err error) {
	for {
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-w.wake:
		}
		if changed, removed = w.Take(); len(changed) > 0 || len(removed) > 0 {
			return changed, removed, nil
		}
	}
}

// Stop ends the watch.
func (w *Watcher[K, V]) Stop() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	delete(w.hub.watchers, w)
}
