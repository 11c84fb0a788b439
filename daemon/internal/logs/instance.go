package logs

import (
	"math"
	"os"
	"slices"
	"time"
)

// instance is one whose output is read.
type instance struct {
	app, id string
	streams []*stream
	first   int64  // time of its first batch; math.MaxInt64 while it has none
	done    bool   // it writes no more, and all was delivered
	listed  bool   // among the reader's open ones
	packed  []byte // id, as cursors have it
}

// drainTime is longer than the keeper takes to move the last output of an
// instance of which no process is left.
const drainTime = 2 * time.Second

// openInstance looks at an instance's files; nothing is delivered of it yet.
func (s *Store) openInstance(name, id string, streams []string) *instance {
	in := &instance{app: name, id: id, first: math.MaxInt64}
	secret := secretOf(s.cfg.Token(id))
	for _, stdx := range streams {
		st := &stream{
			files:    files{dir: s.instanceDir(name, id), name: stdx},
			instance: in, token: s.cfg.Token, secret: secret, until: math.MaxInt64,
		}
		_ = st.list()
		st.pos = st.first()
		in.streams = append(in.streams, st)
	}
	in.learnFirst()
	return in
}

// learnFirst finds the time of the first batch, once there is one.
func (in *instance) learnFirst() {
	for _, s := range in.streams {
		if b, ok := s.batchOf(s.first()); ok {
			in.first = min(in.first, b.time)
		}
	}
}

// begun tells whether something of it was delivered or left out.
func (in *instance) begun() bool {
	return slices.ContainsFunc(in.streams, func(s *stream) bool { return s.pos > 0 })
}

// has tells whether there is a segment of a stream.
func (in *instance) has(name string) bool {
	return slices.ContainsFunc(in.streams, func(s *stream) bool { return s.name == name && len(s.starts) > 0 })
}

// passOver notes the time of what was left out, as if it had been delivered.
func (in *instance) passOver() {
	for _, s := range in.streams {
		if b, ok := s.batchOf(s.pos - 1); ok {
			s.time = max(s.time, b.time)
		}
	}
}

// end has reading leave out what was written at a time or later.
func (in *instance) end(t int64) {
	for _, s := range in.streams {
		s.until = t
	}
}

// last is the time of the newest entry that was delivered or left out.
func (in *instance) last() int64 {
	t := int64(math.MinInt64)
	for _, s := range in.streams {
		t = max(t, s.time)
	}
	return t
}

// checkDone finds out whether it will write no more and all was delivered.
func (in *instance) checkDone(gone func(string) bool) {
	if in.done || !gone(in.id) {
		return
	}
	unread := func(s *stream) bool {
		end, _ := s.end()
		return s.pos < end && !s.ended
	}
	if in.first == math.MaxInt64 {
		in.learnFirst()
	}
	in.done = !in.recent() && !slices.ContainsFunc(in.streams, unread)
}

// recent tells whether output came a moment ago, so that more may.
func (in *instance) recent() bool {
	return slices.ContainsFunc(in.streams, func(s *stream) bool {
		_, when := s.end()
		return time.Since(when) < drainTime
	})
}

// instances lists the ids of an app's instances that have output.
func (s *Store) instances(name string) ([]string, error) {
	entries, err := os.ReadDir(s.instanceDir(name, ""))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && validID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
