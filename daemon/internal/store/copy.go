package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"

	"github.com/roostd/roost/daemon/internal/failpoint"
)

const (
	// settle is how long after a change the copy is made, so that many changes are
	// one copy. It is also what a damaged file may cost.
	settle = time.Second
	// share is how many times as long as a copy took it is waited before the next, up
	// to longest: a large state that changes without end must not keep the disk busy.
	share   = 20
	longest = 10 * time.Second
	// skip is by how much a restored file's counters are moved on: the numbers that
	// were given after its copy was made are not given again.
	skip = 100
)

// copyOf is where a file's last good copy lies.
func copyOf(path string) string { return path + ".good" }

var errMissing = &damage{errors.New("it is gone")}

// Restored says that the file was made again from its copy.
type Restored struct {
	Path string
	Why  string    // what was wrong with it
	Kept string    // where the damaged file is now; "": there was none
	Time time.Time // of the copy: what was changed after it is lost
}

// touch notes that there is something to copy.
func (s *Store) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run keeps the copy up to date until ctx ends. Close does that once more.
func (s *Store) Run(ctx context.Context, log hclog.Logger) error {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		err := s.copy()
		if err != nil {
			s.touch()
		}
		timer.Reset(max(settle, min(share*time.Since(began), longest)))
		if err != nil && !failing {
			log.Error("the copy of the state cannot be written, the last one stays", "path", copyOf(s.path), "error", err)
		}
		failing = err != nil
	}
}

// copy makes the file's copy, and puts it into place once it is known to be good.
func (s *Store) copy() (err error) {
	temp := copyOf(s.path) + ".new"
	defer func() {
		if err != nil {
			_ = os.Remove(temp) // the disk may be full
		}
	}()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if _, err := read(temp); err != nil {
		return fmt.Errorf("%s is damaged: stop roostd and start it again, it then goes back to the copy: %w", s.path, err)
	}
	failpoint.Here(failpoint.Copied)
	return moveIntoPlace(temp, copyOf(s.path))
}

// restore makes the file again from its copy, and keeps a damaged one.
func restore(path string, why *damage) (*Restored, error) {
	from := copyOf(path)
	if _, err := read(from); err != nil {
		if newer, ok := errors.AsType[*NewerError](err); ok {
			return nil, newer
		}
		return nil, &UnreadableError{path, fmt.Errorf("%w; and its copy cannot be used either: %w", why, err)}
	}
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	temp := path + ".new"
	if err := duplicate(from, temp); err != nil {
		return nil, fmt.Errorf("restoring %s from %s: %w", path, from, err)
	}
	r := &Restored{Path: path, Why: why.Error(), Time: info.ModTime()}
	if exists(path) {
		r.Kept = path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
		if err := os.Rename(path, r.Kept); err != nil {
			return nil, err
		}
	}
	failpoint.Here(failpoint.Restore)
	return r, moveIntoPlace(temp, path)
}

// duplicate writes a copy's copy, with its counters moved on.
func duplicate(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		return err
	}
	db, err := bolt.Open(to, 0o600, &bolt.Options{Timeout: lockWait})
	if err != nil {
		return err
	}
	s := &Store{db: db, changed: make(chan struct{}, 1)}
	err = s.update(func(w *writer) error {
		if err := w.moveOn(bucketMeta, string(keyEpoch)); err != nil {
			return err
		}
		var names []string
		err := w.tx.Bucket(bucketCounters).ForEach(func(name, _ []byte) error {
			names = append(names, string(name))
			return nil
		})
		for _, name := range names {
			err = errors.Join(err, w.moveOn(bucketCounters, name))
		}
		return err
	})
	return errors.Join(err, db.Sync(), db.Close())
}

func (w *writer) moveOn(bucket []byte, key string) error {
	return w.put(bucket, key, number64(toNumber(w.get(bucket, key))+skip))
}
