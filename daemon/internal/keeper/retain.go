package keeper

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

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
	weigh := func(g segment) int64 { return max(g.bytes, l.GetMaxSize()/leastShare) }
	s.discard(surplus(list, l.GetMaxSize()*int64(l.GetMaxFiles()), weigh, s.isWritten), false)
}

func (s *server) retainAll(total int64) {
	list, err := allSegments(s.cfg.LogDir)
	if err != nil {
		s.cfg.Log.Warn("cannot look through all output", "error", err)
	}
	s.discard(surplus(list, total, func(g segment) int64 { return g.bytes }, s.isWritten), true)
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
		p.SetMaxSize(i.record.GetLogs().GetMaxSize())
	}
}

// watchSegments has the app's output looked through when a segment is full.
func (i *instance) watchSegments() {
	app := i.record.GetApp()
	i.server.retention.limit(app, i.record.GetLogs())
	for _, p := range i.pumps {
		p.OnRoll(func() { i.server.retention.look(app) })
	}
	i.limitSegments()
}
