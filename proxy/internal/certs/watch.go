package certs

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the folder is quiet before it is looked at: a certificate
	// and its key are two files, written one after the other.
	settle = 200 * time.Millisecond
	// lookEvery bounds how long a change goes unnoticed that nobody told of: where
	// a link leads, or on a file system of another machine.
	lookEvery = 10 * time.Second
)

// Run keeps the certificates as the folder has them, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		s.log.Warn("the system does not tell of new certificates: they are looked for", "every", lookEvery, "error", err)
		return s.follow(ctx, nil, func() {})
	}
	defer func() { _ = w.Close() }()
	changed := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.pass(ctx, w, changed)
	}()
	defer func() { <-ended }()
	// Again each time: the folder may have become another one of the same name.
	return s.follow(ctx, changed, func() { _ = w.Add(s.dir) }) // it is looked at anyway
}

// pass tells that something happened in the folder.
func (s *Store) pass(ctx context.Context, w *fsnotify.Watcher, changed chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.Events:
			if e.Op == fsnotify.Chmod {
				continue // as backup programs cause it
			}
		case err := <-w.Errors:
			s.log.Debug("events of the folder were lost: it is looked at", "folder", s.dir, "error", err)
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// follow looks a while after a change, and now and then. watch has changes told.
func (s *Store) follow(ctx context.Context, changed <-chan struct{}, watch func()) error {
	watch()
	quiet := time.NewTimer(0) // what changed before it was watched
	defer quiet.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			quiet.Reset(settle)
			continue
		case <-quiet.C:
		case <-tick.C:
			watch()
		}
		s.look()
	}
}
