package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// lockWait is how long Open waits for another process to let go of the file.
const lockWait = time.Second

// UnreadableError says that the file is there and cannot be used. It is never
// replaced by an empty one: that would stop every app for good.
type UnreadableError struct {
	Path string
	Err  error
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// Error says which file, why, and what to do.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%s cannot be read: %v: it holds every app's spec, so nothing was changed; "+
		"restore it from a backup, or move it away to begin without apps", e.Path, e.Err)
}

// Open opens the file at path and makes it where there is none. A file that is
// damaged, cut off, or of another schema is refused with an *UnreadableError.
func Open(path string) (*Store, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, fmt.Errorf("creating %s: %w", path, err)
		}
	}
	s, err := open(path)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process: end it first", path)
	}
	if err != nil {
		return nil, &UnreadableError{Path: path, Err: err}
	}
	return s, nil
}

// create makes an empty file under another name and moves it into place, so that
// a file at path is always a whole one: one without bytes is a damaged one.
func create(path string) error {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(temp, 0o600, &bolt.Options{Timeout: lockWait})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketApps, bucketCounters, bucketProxies} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keySchema, bytes(schema))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// open opens an existing file and reads all of it once. bbolt maps the file and
// trusts its pages: a cut-off or damaged one faults or panics, which is an error here.
func open(path string) (s *Store, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var db *bolt.DB
	defer func() {
		if r := recover(); r != nil {
			// The database is left open: after a panic its locks may be held for good.
			s, err = nil, fmt.Errorf("damaged or cut off (%v)", r)
		} else if err != nil && db != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, errors.New("it is empty")
	}
	if db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait}); err != nil {
		return nil, err
	}
	s = &Store{db: db}
	if err := s.verify(info.Size()); err != nil {
		return nil, err
	}
	return s, nil
}

// verify refuses a file that is cut off, of another schema, or holds what cannot
// be decoded.
func (s *Store) verify(size int64) error {
	err := s.db.View(func(tx *bolt.Tx) error {
		if tx.Size() > size {
			return fmt.Errorf("cut off: %d of %d bytes are left", size, tx.Size())
		}
		for _, name := range [][]byte{bucketMeta, bucketApps, bucketCounters, bucketProxies} {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("damaged: it has no bucket %q", name)
			}
		}
		if v := number(tx.Bucket(bucketMeta).Get(keySchema)); v != schema {
			return fmt.Errorf("its schema is %d and this roostd knows %d: use the roostd that wrote it", v, schema)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := s.Load(); err != nil {
		return err
	}
	_, err = s.Proxies()
	return err
}
