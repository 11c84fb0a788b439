package logs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

// notifier tells followers which folders changed. All share one inotify
// instance, of which a user may have few.
type notifier struct {
	log  hclog.Logger
	asks chan ask

	mu      sync.Mutex
	running chan struct{} // closed when run ends; nil while it does not run
}

// ask is what a follower wants: a folder watched, or not any more.
type ask struct {
	sub  *subscription
	dir  string // "" is all that it watches
	stop bool
	done chan error
}

func newNotifier(log hclog.Logger) *notifier {
	return &notifier{log: log, asks: make(chan ask)}
}

// run owns the inotify instance and who is told of which folder.
func (n *notifier) run(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		n.log.Warn("log followers poll: no inotify", "error", err)
		<-ctx.Done()
		return nil
	}
	defer func() { _ = w.Close() }()
	ended := make(chan struct{})
	defer close(ended)
	n.setRunning(ended)
	defer n.setRunning(nil)

	subs := subscribers{}
	defer subs.tellAll()
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-n.asks:
			a.done <- subs.answer(w, a)
		case e, ok := <-w.Events:
			if !ok {
				return errors.New("inotify ended")
			}
			subs.tell(filepath.Dir(e.Name))
		case err := <-w.Errors:
			// An overflow: anything may have changed.
			n.log.Debug("inotify", "error", err)
			subs.tellAll()
		}
	}
}

func (n *notifier) setRunning(c chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running = c
}

func (n *notifier) isRunning() chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

var errNotRunning = errors.New("nobody watches the log folder")

// send lets run answer a follower.
func (n *notifier) send(a ask) error {
	ended := n.isRunning()
	if ended == nil {
		return errNotRunning
	}
	a.done = make(chan error, 1)
	select {
	case n.asks <- a:
		return <-a.done
	case <-ended:
		return errNotRunning
	}
}

// subscribers are the followers by folder.
type subscribers map[string]map[*subscription]struct{}

func (s subscribers) answer(w *fsnotify.Watcher, a ask) error {
	if a.stop {
		s.drop(w, a.sub, a.dir)
		return nil
	}
	if s[a.dir] == nil {
		if err := w.Add(a.dir); err != nil {
			return fmt.Errorf("watch %s: %w", a.dir, err)
		}
		s[a.dir] = map[*subscription]struct{}{}
	}
	s[a.dir][a.sub] = struct{}{}
	return nil
}

func (s subscribers) drop(w *fsnotify.Watcher, sub *subscription, only string) {
	for dir, subs := range s {
		if only != "" && dir != only {
			continue
		}
		delete(subs, sub)
		if len(subs) == 0 {
			delete(s, dir)
			_ = w.Remove(dir) // fails for a folder that was deleted
		}
	}
}

func (s subscribers) tell(dir string) {
	for sub := range s[dir] {
		sub.tell(dir)
	}
}

func (s subscribers) tellAll() {
	for dir, subs := range s {
		for sub := range subs {
			sub.tell(dir)
			sub.tellAll()
		}
	}
}

// subscription is one follower's. A nil one watches nothing.
type subscription struct {
	n    *notifier
	wake chan struct{} // signalled when take has something

	watched map[string]bool // by its follower only

	mu    sync.Mutex
	dirty map[string]bool
	all   bool
}

func (n *notifier) subscribe() *subscription {
	return &subscription{n: n, wake: make(chan struct{}, 1), watched: map[string]bool{}, dirty: map[string]bool{}}
}

// watch begins to tell of changes in a folder. Where that fails the follower is
// blind, and polls.
func (s *subscription) watch(dir string) bool {
	if s == nil || s.watched[dir] {
		return true
	}
	ok := s.n.send(ask{sub: s, dir: dir}) == nil
	s.watched[dir] = ok
	return ok
}

// unwatch ends what watch began.
func (s *subscription) unwatch(dir string) {
	if s != nil && s.watched[dir] {
		_ = s.n.send(ask{sub: s, dir: dir, stop: true})
	}
	if s != nil {
		delete(s.watched, dir)
	}
}

// blind tells that some folder could not be watched.
func (s *subscription) blind() bool {
	if s.n.isRunning() == nil {
		return true
	}
	for _, ok := range s.watched {
		if !ok {
			return true
		}
	}
	return false
}

// take returns the folders that changed since the last call; all says that any may have.
func (s *subscription) take() (dirty map[string]bool, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty, all = s.dirty, s.all
	s.dirty, s.all = map[string]bool{}, false
	return dirty, all
}

func (s *subscription) tell(dir string) {
	s.mu.Lock()
	s.dirty[dir] = true
	s.mu.Unlock()
	s.signal()
}

func (s *subscription) tellAll() {
	s.mu.Lock()
	s.all = true
	s.mu.Unlock()
	s.signal()
}

func (s *subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscription) close() { _ = s.n.send(ask{sub: s, stop: true}) }
