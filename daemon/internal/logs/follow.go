package logs

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// pollEvery is how often a follower looks by itself where the kernel cannot tell
// it of changes.
const pollEvery = 500 * time.Millisecond

// wait returns once there may be more to read, with the streams queued that it
// may be in.
func (r *reader) wait(ctx context.Context) error {
	if r.isOver() {
		r.closing = true
		return r.lookAtAll()
	}
	if r.removed == nil && r.query.Removed != nil {
		if err := r.farewell(); err != nil {
			return err
		}
	}
	timer := time.NewTimer(r.nextLook())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.removed:
		r.removed = nil
		return r.lookAtAll()
	case <-timer.C:
		if r.news.blind() || r.unsure {
			return r.lookAtAll()
		}
		r.requeue(func(s *stream) bool { return s.held || len(s.buf) > 0 })
		return nil
	case <-r.news.wake:
	}
	dirty, all := r.news.take()
	if all {
		return r.lookAtAll()
	}
	if dirty[r.store.instanceDir(r.query.App, "")] || dirty[r.store.cfg.Dir] {
		if err := r.addNew(); err != nil {
			return err
		}
	}
	r.requeue(func(s *stream) bool { return dirty[s.dir] })
	return nil
}

// nextLook is when something is due that no change of a file will tell of.
func (r *reader) nextLook() time.Duration {
	next := time.Hour
	if r.news.blind() || r.unsure || r.removed == nil && r.query.Removed != nil {
		next = pollEvery
	}
	if !r.query.Until.IsZero() {
		next = min(next, max(time.Until(r.query.Until)+untilDelay, time.Millisecond))
	}
	for _, in := range r.all {
		for _, s := range in.streams {
			if s.held {
				next = min(next, noteDelay)
			}
			if len(s.buf) == 0 {
				continue
			}
			if due, _, ok := r.restDue(s); ok {
				next = min(next, max(due, time.Millisecond))
			}
		}
	}
	return next
}

// untilDelay is longer than it takes until what was written before Until is there,
// with its entries in the index.
const untilDelay = 2 * noteDelay

// isOver tells whether what comes is no more of this reading.
func (r *reader) isOver() bool {
	return !r.query.Until.IsZero() && time.Since(r.query.Until) >= untilDelay
}

// farewell ends the following of an app that was removed, once all that its
// instances have written was delivered.
func (r *reader) farewell() error {
	if err := r.addNew(); err != nil {
		return err
	}
	for _, in := range r.all {
		if in.checkDone(r.store.cfg.Gone); !in.done {
			return nil
		}
	}
	return app.Errorf(app.NotFound, app.ReasonAppNotFound, r.query.App, "app %s was removed: nothing more will come of it", r.query.App)
}

// requeue queues the streams of instances that are not done, as chosen.
func (r *reader) requeue(chosen func(*stream) bool) {
	for _, in := range r.all {
		if in.done {
			continue
		}
		for _, s := range in.streams {
			if !s.ended && chosen(s) {
				r.queue.push(s)
			}
		}
	}
}

func (r *reader) lookAtAll() error {
	if err := r.addNew(); err != nil {
		return err
	}
	for _, in := range r.all {
		if !in.done {
			r.news.watch(r.store.instanceDir(in.app, in.id))
		}
	}
	r.requeue(func(*stream) bool { return true })
	return nil
}

// addNew takes up instances that have begun since; all they wrote is news. Those
// that have ended meanwhile are let go, or a follower of an app that keeps
// crashing would grow for ever.
func (r *reader) addNew() error {
	for _, in := range r.open {
		if in.checkDone(r.store.cfg.Gone); in.done {
			r.news.unwatch(r.store.instanceDir(in.app, in.id))
		}
	}
	added, err := r.discover()
	for _, in := range added {
		r.enter(in)
	}
	return err
}
