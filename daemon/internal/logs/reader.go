package logs

import (
	"context"
	"math"
	"regexp"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// reader is one call of Read.
type reader struct {
	store   *Store
	query   Query
	to      Sink[[]Entry]
	grep    *regexp.Regexp // nil lets everything through
	all     map[string]*instance
	unsure  bool        // of some instance the generation is not known yet
	open    []*instance // begun, and not yet implied by the time of a cursor
	queue   queue       // streams that may have an entry
	time    int64       // of the newest entry
	out     []Entry
	size    int           // bytes of out
	passed  bool          // something was read since the last entry that is none
	news    *subscription // of a follower
	history bool          // what was there when the call began is still being read
	closing bool          // of a follower: nothing is waited for any more
	removed <-chan struct{}
	tag     uint32 // of its cursors
	scratch []byte // of the newest cursor
}

// An emitted batch is no larger.
const (
	batchEntries = 256
	batchBytes   = 64 << 10
)

func (s *Store) newReader(q Query, to Sink[[]Entry]) (*reader, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	grep, err := compileGrep(q.App, q.Grep)
	if err != nil {
		return nil, err
	}
	r := &reader{store: s, query: q, to: to, grep: grep, all: map[string]*instance{}, history: true, removed: q.Removed, tag: s.tag(q.App)}
	if q.Follow {
		r.news = s.watch.subscribe()
	}
	if err := r.begin(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() {
	if r.news != nil {
		r.news.close()
	}
}

// begin finds the instances and where to begin in each.
func (r *reader) begin() error {
	var from *position
	if r.query.Cursor != "" {
		p, err := r.store.parseCursor(r.query.App, r.query.Cursor)
		if err != nil {
			return err
		}
		from, r.time = &p, p.time
	}
	added, err := r.discover()
	if err != nil {
		return err
	}
	if r.query.Instance != "" && len(added) == 0 {
		return app.Errorf(app.NotFound, app.ReasonNotFound, r.query.App, "instance %s of app %s has no output", r.query.Instance, r.query.App)
	}
	if from != nil {
		r.out = r.vanished(from)
	}
	for _, in := range added {
		if err := r.place(in, from); err != nil {
			return err
		}
	}
	if r.query.Tail != nil {
		if err := r.tail(added, max(0, *r.query.Tail)); err != nil {
			return err
		}
	}
	for _, in := range added {
		in.passOver()
		r.time = max(r.time, in.last())
	}
	for _, in := range added {
		r.enter(in)
	}
	for i := range r.out { // now that all is in its place
		r.out[i].Cursor = r.cursor()
	}
	return nil
}

// discover adds the instances that are new in the app's folder.
func (r *reader) discover() (added []*instance, err error) {
	r.watchApp()
	ids, err := r.store.instances(r.query.App)
	if err != nil {
		return nil, err
	}
	r.unsure = false
	for _, id := range ids {
		if r.all[id] != nil || r.query.Instance != "" && r.query.Instance != id || !r.wantsGeneration(id) {
			continue
		}
		in := r.store.openInstance(r.query.App, id, r.query.streams())
		if !r.query.Until.IsZero() {
			in.end(r.query.Until.UnixNano())
		}
		if !r.store.cfg.Gone(id) || in.recent() {
			r.news.watch(r.store.instanceDir(r.query.App, id))
		}
		r.all[id] = in
		added = append(added, in)
	}
	return added, nil
}

// wantsGeneration tells whether an instance is of the generation that is asked for.
func (r *reader) wantsGeneration(id string) bool {
	if r.query.Generation == 0 {
		return true
	}
	g := r.store.cfg.Generation(id)
	r.unsure = r.unsure || g == 0
	return g == r.query.Generation
}

// watchApp watches the app's folder, or for an app that never started the one
// that it will appear in.
func (r *reader) watchApp() {
	dir := r.store.instanceDir(r.query.App, "")
	if r.news.watch(dir) || !r.news.watch(r.store.cfg.Dir) {
		return
	}
	if !r.news.watch(dir) { // it may have appeared in between
		r.news.unwatch(dir)
	}
}

// enter makes an instance that was placed part of the reading.
func (r *reader) enter(in *instance) {
	for _, s := range in.streams {
		s.hold = r.query.Follow
		r.queue.push(s)
	}
	in.checkDone(r.store.cfg.Gone)
	if in.begun() || in.first <= r.time {
		r.list(in)
	}
}

// list makes an instance one that a cursor must tell of.
func (r *reader) list(in *instance) {
	if !in.listed {
		in.listed = true
		r.open = append(r.open, in)
	}
}

// run reads what is there, and what comes.
func (r *reader) run(ctx context.Context) error {
	for {
		if err := r.drain(ctx); err != nil {
			return err
		}
		if !r.query.Follow || r.closing {
			return nil
		}
		if r.history {
			r.history = false
			if err := r.to.CaughtUp(r.cursor()); err != nil {
				return err
			}
		}
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
}

// drain emits everything that is there.
func (r *reader) drain(ctx context.Context) error {
	for {
		s, ok := r.queue.pop()
		if !ok {
			break
		}
		if err := r.drainStream(ctx, s); err != nil {
			return err
		}
	}
	if n := len(r.out); n > 0 { // by now it is known which instances have ended
		r.out[n-1].Cursor, r.passed = r.cursor(), false
	}
	return r.flush(ctx)
}

// drainStream emits of a stream what comes before all that others have.
func (r *reader) drainStream(ctx context.Context, s *stream) error {
	for {
		n, partial, err := s.ready()
		if err != nil {
			return err
		}
		if s.gap {
			if err := r.tellGap(ctx, s); err != nil {
				return err
			}
		}
		if s.isOver() {
			// A reading that goes on from here may want the rest.
			r.list(s.instance)
			return nil
		}
		if n == 0 {
			return r.dry(ctx, s)
		}
		if err := r.add(ctx, s, n, partial, false); err != nil {
			return err
		}
		if !r.queue.isNext(s) {
			r.queue.push(s)
			return nil
		}
	}
}

// dry deals with a stream that has no whole line.
func (r *reader) dry(ctx context.Context, s *stream) error {
	if len(s.buf) > 0 || s.held {
		// Entries of others may overtake these bytes: no cursor's time implies them.
		r.list(s.instance)
	}
	if len(s.buf) > 0 {
		return r.rest(ctx, s)
	}
	s.instance.checkDone(r.store.cfg.Gone)
	return nil
}

// rest emits a line that has no end, if it is due.
func (r *reader) rest(ctx context.Context, s *stream) error {
	due, final, ok := r.restDue(s)
	if !ok || due > 0 {
		return nil
	}
	s.rested = s.pos + int64(len(s.buf))
	if n := s.rest(final); n > 0 {
		if err := r.add(ctx, s, n, true, final); err != nil {
			return err
		}
	}
	if final {
		s.instance.checkDone(r.store.cfg.Gone)
	}
	return nil
}

// restDue is when a line without an end is an entry: as nobody waits for its end,
// as it has waited or rested long enough, or finally as nothing follows. ok is
// false where there is nothing to wait for.
func (r *reader) restDue(s *stream) (d time.Duration, final, ok bool) {
	_, when := s.end()
	age := time.Since(when)
	gone := r.store.cfg.Gone(s.instance.id)
	switch {
	case !r.query.Follow || r.closing:
		return 0, gone, true
	case gone && age >= drainTime:
		return 0, true, true
	case s.rested < s.pos+int64(len(s.buf)):
		// A clock that was set back makes the first byte's time the later one.
		waited := time.Since(time.Unix(0, s.timeOf(s.pos)))
		return r.store.quiet - max(age, waited), false, true
	case gone:
		return drainTime - age, true, true
	}
	return 0, false, false
}

// add takes an entry out of a stream.
func (r *reader) add(ctx context.Context, s *stream, n int, partial, final bool) error {
	e := s.take(n, partial, final)
	r.time = max(r.time, s.time)
	if s.instance.first == math.MaxInt64 {
		s.instance.learnFirst()
	}
	r.list(s.instance)
	if !r.lets(e.Data) {
		r.passed = true
		return nil
	}
	return r.put(ctx, e)
}

// put adds an entry to what is to be emitted.
func (r *reader) put(ctx context.Context, e Entry) error {
	e.Cursor = r.cursor()
	r.passed = false
	r.out = append(r.out, e)
	r.size += len(e.Data) + len(e.Cursor)
	if len(r.out) < batchEntries && r.size < batchBytes {
		return nil
	}
	return r.flush(ctx)
}

// tellGap emits that bytes are gone before what comes next, or ends a reading that
// is to miss nothing: its cursor leads before them.
func (r *reader) tellGap(ctx context.Context, s *stream) error {
	r.list(s.instance)
	missed, told := s.missed, s.told
	s.gap, s.missed, s.told = false, 0, false
	if !r.query.Lossless || told {
		return r.put(ctx, Entry{
			Time: time.Unix(0, s.head()), App: r.query.App, Instance: s.instance.id, Stream: s.name, Gap: true, Missed: missed,
		})
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	s.pos -= missed
	f := app.Errorf(app.Exhausted, app.ReasonReaderTooSlow, r.query.App,
		"%d bytes of app %s were deleted before they were read: read faster, raise logs.max_files, or go on without them from the cursor", missed, r.query.App)
	f.Cursor = r.cursor()
	return f
}

func (r *reader) flush(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if r.passed && r.to.Passed != nil {
		r.passed = false
		r.to.Passed(r.cursor())
	}
	if len(r.out) == 0 {
		return nil
	}
	out := r.out
	r.out, r.size = nil, 0
	return r.to.Emit(out)
}
