package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/roostd/roost/daemon/internal/watch"
)

const (
	// heartbeatEvery is how often a stream says that it lives while nothing else
	// happens.
	heartbeatEvery = 15 * time.Second
	// chunkBytes is about the size of one message of a snapshot or a delta.
	chunkBytes = 256 << 10
)

// stateWatch streams keyed state: a snapshot, then what changes, coalesced per
// key, and heartbeats. The handler's goroutine is the one sender of the stream:
// a slow client delays itself only.
type stateWatch[K ~string, V any, P proto.Message, R any] struct {
	hub    *watch.Hub[K, V]
	epoch  uint64
	filter string         // what the client asked for, kept in its resume token
	keys   func(k K) bool // which keys it wants; nil: all
	values func(v V) bool // which values it wants; nil: all
	less   func(a, b V) int
	to     func(v V) P

	snapshot  func(chunk []P, last bool) R
	delta     func(upserts []P, removed []string) R
	heartbeat func() R
	token     func(r R, token string)
	send      func(r R) error
}

// serve runs until ctx ends or the client is gone, and returns why.
func (s *stateWatch[K, V, P, R]) serve(ctx context.Context, resume string) error {
	w, err := s.begin(resume)
	if err != nil {
		return err
	}
	defer w.Stop()
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		select {
		case <-w.Wake():
			changed, removed := w.Take()
			sent, err := s.sendDelta(changed, removed, s.tokenAt(w.Seq()))
			if err != nil {
				return err
			}
			if sent {
				beat.Reset(heartbeatEvery)
			}
		case <-beat.C:
			if err := s.sendOne(s.heartbeat(), s.tokenAt(w.Seq())); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin sends the first messages: a heartbeat where the client's token still
// tells what it has, else a snapshot.
func (s *stateWatch[K, V, P, R]) begin(resume string) (*watch.Watcher[K, V], error) {
	if seq, ok := s.parse(resume); ok {
		if w, ok := s.hub.Resume(seq); ok {
			if err := s.sendOne(s.heartbeat(), resume); err != nil {
				w.Stop()
				return nil, err
			}
			return w, nil
		}
	}
	w, all := s.hub.Watch()
	if err := s.sendSnapshot(all, s.tokenAt(w.Seq())); err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// sendSnapshot sends everything in chunks; only the last one has a token, as what
// was received before it is not complete.
func (s *stateWatch[K, V, P, R]) sendSnapshot(all map[K]V, token string) error {
	chunks := chunked(s.translate(all))
	if len(chunks) == 0 {
		chunks = [][]P{nil}
	}
	for i, chunk := range chunks {
		last := i == len(chunks)-1
		at := ""
		if last {
			at = token
		}
		if err := s.sendOne(s.snapshot(chunk, last), at); err != nil {
			return err
		}
	}
	return nil
}

// sendDelta sends what changed, if the client asked for any of it; removals go
// with the first message.
func (s *stateWatch[K, V, P, R]) sendDelta(changed map[K]V, removed []K, token string) (sent bool, err error) {
	var names []string
	for _, k := range removed {
		if s.keys == nil || s.keys(k) {
			names = append(names, string(k))
		}
	}
	slices.Sort(names)
	chunks := chunked(s.translate(changed))
	if len(chunks) == 0 && len(names) > 0 {
		chunks = [][]P{nil}
	}
	for i, chunk := range chunks {
		at := ""
		if i == len(chunks)-1 {
			at = token
		}
		if err := s.sendOne(s.delta(chunk, names), at); err != nil {
			return true, err
		}
		names = nil
	}
	return len(chunks) > 0, nil
}

func (s *stateWatch[K, V, P, R]) sendOne(r R, token string) error {
	s.token(r, token)
	return s.send(r)
}

// translate returns the wanted values in order.
func (s *stateWatch[K, V, P, R]) translate(values map[K]V) []P {
	wanted := make([]V, 0, len(values))
	for k, v := range values {
		if (s.keys == nil || s.keys(k)) && (s.values == nil || s.values(v)) {
			wanted = append(wanted, v)
		}
	}
	slices.SortFunc(wanted, s.less)
	list := make([]P, len(wanted))
	for i, v := range wanted {
		list[i] = s.to(v)
	}
	return list
}

// chunked splits messages so that each part is about chunkBytes.
func chunked[P proto.Message](list []P) [][]P {
	var chunks [][]P
	size := chunkBytes
	for _, m := range list {
		n := proto.Size(m)
		if size+n > chunkBytes {
			chunks = append(chunks, nil)
			size = 0
		}
		last := len(chunks) - 1
		chunks[last] = append(chunks[last], m)
		size += n
	}
	return chunks
}

// tokenAt says where the stream is: which daemon's start, what was asked for, and
// the number of the last change.
func (s *stateWatch[K, V, P, R]) tokenAt(seq uint64) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%x.%d", s.epoch, s.question(), seq))
}

// parse is false for a token of another daemon's start, or to another question.
func (s *stateWatch[K, V, P, R]) parse(token string) (seq uint64, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || token == "" {
		return 0, false
	}
	var epoch, question uint64
	if _, err := fmt.Sscanf(string(text), "%d.%x.%d", &epoch, &question, &seq); err != nil {
		return 0, false
	}
	return seq, epoch == s.epoch && question == s.question()
}

func (s *stateWatch[K, V, P, R]) question() uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%T %s", *new(P), s.filter)
	return h.Sum64()
}
