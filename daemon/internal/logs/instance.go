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
	first   int64 // time of its first batch; math.MaxInt64 while it has none
	done    bool  // it writes no more, and all was delivered
	listed  bool  // among the reader's open ones
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
			instance: in, token: s.cfg.Token, secret: secret,
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

// checkDone finds out whether it will write no more and all was delivered.
func (in *instance) checkDone(gone func(string) bool) {
	if in.done || !gone(in.id) {
		return
	}
	unread := func(s *stream) bool {
		end, _ := s.end()
		return s.pos < end
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
