package keeper

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

const (
	// leastShare is the part of max_size that a segment counts as at least, so that
	// an app that keeps crashing does not leave folders without end.
	leastShare = 100
	// totalEvery is how often at most the output of all apps is looked through.
	totalEvery = 5 * time.Second
)

// retention keeps what apps write within bounds: it deletes the oldest segments, and
// never one that is being written to.
type retention struct {
	wake chan struct{} // one slot

	mu     sync.Mutex
	due    map[string]bool // apps that have begun a segment
	limits map[string]*keeperv1.LogLimits
	total  int64 // of all apps; 0 is no bound
	over   bool  // what may be deleted does not bring all apps below it
}

func newRetention() *retention {
	return &retention{wake: make(chan struct{}, 1), due: map[string]bool{}, limits: map[string]*keeperv1.LogLimits{}}
}

// look has an app's output looked through soon.
func (r *retention) look(app string) {
	r.mu.Lock()
	r.due[app] = true
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// limit sets an app's limits, and tells whether they are new.
func (r *retention) limit(app string, l *keeperv1.LogLimits) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l == nil || proto.Equal(r.limits[app], l) {
		return false
	}
	r.limits[app] = l
	return true
}

func (r *retention) limitAll(total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total = total
}

// blocks tells whether an app's output is to wait for room, and is not deleted.
func (r *retention) blocks(app string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.limits[app].GetBlock()
}

func (r *retention) setOver(over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = over
}

// take returns the apps that are due.
func (r *retention) take() (apps map[string]*keeperv1.LogLimits, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	apps = map[string]*keeperv1.LogLimits{}
	for app := range r.due {
		apps[app] = r.limits[app]
	}
	clear(r.due)
	return apps, r.total
}

// retain deletes what is too much, until ctx ends.
func (s *server) retain(ctx context.Context) error {
	looked := time.Now().Add(-totalEvery)
	var later <-chan time.Time // when all is to be looked through, so soon after the last time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.retention.wake:
		case <-later:
		}
		apps, total := s.retention.take()
		for app, limits := range apps {
			s.retainApp(app, limits)
		}
		switch since := time.Since(looked); {
		case total <= 0:
		case since >= totalEvery:
			s.retainAll(total)
			looked, later = time.Now(), nil
		case later == nil:
			later = time.After(totalEvery - since)
		}
	}
}

func (s *server) retainApp(app string, l *keeperv1.LogLimits) {
	if l.GetMaxSize() <= 0 || l.GetMaxFiles() <= 0 {
		return
	}
	list, err := appSegments(s.cfg.LogDir, app)
	if err != nil {
		s.cfg.Log.Warn("cannot look through all output", "app", app, "error", err)
	}
	most, weigh, keep := l.GetMaxSize()*int64(l.GetMaxFiles()), weighShare(l), s.isWritten
	if l.GetBlock() { // folders of instances that wrote nothing must not add up all the same
		most, weigh, keep = 0, weighAll, func(g segment) bool { return g.bytes > 0 || s.isWritten(g) }
	}
	s.discard(surplus(list, most, weigh, keep), false)
}

// weighAll counts every segment: none is without weight.
func weighAll(g segment) int64 { return max(g.bytes, 1) }

// weighShare has a small segment count more than it holds.
func weighShare(l *keeperv1.LogLimits) func(segment) int64 {
	return func(g segment) int64 { return max(g.bytes, l.GetMaxSize()/leastShare) }
}

func (s *server) retainAll(total int64) {
	list, err := allSegments(s.cfg.LogDir)
	if err != nil {
		s.cfg.Log.Warn("cannot look through all output", "error", err)
	}
	weigh := func(g segment) int64 { return g.bytes }
	gone := surplus(list, total, weigh, func(g segment) bool { return s.isWritten(g) || s.retention.blocks(g.app) })
	s.retention.setOver(sum(list, weigh)-sum(gone, weigh) > total)
	s.discard(gone, true)
}

// whyFull is why an app whose output waits for room may not begin another segment;
// "" where it may. It is asked again while it waits, and has all output looked
// through then.
func (s *server) whyFull(app string) string {
	r := s.retention
	r.mu.Lock()
	l, over := r.limits[app], r.over && r.total > 0
	r.mu.Unlock()
	if !l.GetBlock() {
		return ""
	}
	most := l.GetMaxSize() * int64(l.GetMaxFiles())
	list, err := appSegments(s.cfg.LogDir, app)
	switch {
	case err != nil:
		s.cfg.Log.Warn("cannot look through all output", "app", app, "error", err)
	case most > 0 && sum(list, weighPages) >= most:
		return "its output has reached logs.max_size times max_files"
	case over:
		r.look(app)
		return "the output of all apps has reached --log-max-total"
	}
	return ""
}

// weighPages counts what there is as a page at least: many small segments fill a disk,
// too.
func weighPages(g segment) int64 {
	const page = 4 << 10
	if g.bytes == 0 {
		return 0
	}
	return max(g.bytes, page)
}

// isWritten tells whether a segment may still grow.
func (s *server) isWritten(g segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.instances[g.instance] // one that is being launched, too
	return g.newest && ok && !i.isGone()
}

// discard deletes segments and tells the daemon.
func (s *server) discard(list []segment, forAll bool) {
	for _, g := range list {
		if err := g.remove(); err != nil {
			s.cfg.Log.Warn("cannot delete old output", "segment", g.path, "error", err)
			continue
		}
		if err := s.outputDeleted(g.instance); err != nil {
			s.cfg.Log.Warn("cannot remove a forgotten record", "instance", g.instance, "error", err)
		}
		told, ok := s.deleted.Get(g.app)
		if !ok {
			told = &keeperv1.LogsDeleted{App: g.app}
		}
		told = proto.CloneOf(told)
		if forAll {
			told.BytesForAll += g.bytes
		} else {
			told.Bytes += g.bytes
		}
		s.deleted.Set(g.app, told)
	}
}

// LimitLogs sets how much of an app's output is kept from now on.
func (s *server) LimitLogs(ctx context.Context, req *keeperv1.LimitLogsRequest) (*keeperv1.LimitLogsResponse, error) {
	if !s.retention.limit(req.GetApp(), req.GetLimits()) {
		return &keeperv1.LimitLogsResponse{}, nil
	}
	for _, i := range s.all() {
		i.do(ctx, func() {
			if i.record.GetApp() == req.GetApp() && !i.isGone() {
				i.change(func(r *keeperv1.Record) { r.Logs = req.GetLimits() })
				i.limitSegments()
			}
		})
	}
	s.retention.look(req.GetApp())
	return &keeperv1.LimitLogsResponse{}, ctx.Err()
}

// limitSegments has the pumps keep to the record's limits.
func (i *instance) limitSegments() {
	for _, p := range i.pumps {
		p.SetLimits(i.record.GetLogs().GetMaxSize(), i.record.GetLogs().GetBlock())
	}
}

// Unblock lets an instance that is to end write on.
func (s *server) Unblock(_ context.Context, req *keeperv1.UnblockRequest) (*keeperv1.UnblockResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return nil, notFound(req.GetInstance())
	}
	for _, p := range i.pumps {
		p.Unblock()
	}
	return &keeperv1.UnblockResponse{}, nil
}

// watchSegments has the app's output looked through when a segment is full.
func (i *instance) watchSegments() {
	app := i.record.GetApp()
	i.server.retention.limit(app, i.record.GetLogs())
	for _, p := range i.pumps {
		p.OnRoll(func() { i.server.retention.look(app) })
		p.OnFull(func() string { return i.server.whyFull(app) })
		p.OnState(func(now pump.State) { i.noteOutput(p.Stream(), now) })
	}
	i.limitSegments()
}
