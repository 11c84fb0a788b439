package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/roostd/roost/daemon/internal/app"
)

// lockWait is how long Open waits for another process to let go of the file.
const lockWait = time.Second

// UnreadableError says that the state cannot be used, and neither can its copy. It
// is never replaced by an empty one: that would end every app.
type UnreadableError struct {
	Path string
	Err  error
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// Error says which file, why, and what to do.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%s cannot be used: %v: it says which apps there are, so nothing was changed and what runs goes on; "+
		"restore it from a backup, or, to begin without apps and end all that runs, move away all that begins with %s, and the folder events beside it",
		e.Path, e.Err, e.Path)
}

// NewerError says that a newer roostd wrote the file.
type NewerError struct {
	Path   string
	Schema uint64
}

// Error says which file, why, and what to do.
func (e *NewerError) Error() string {
	return fmt.Sprintf("%s was written by a newer roostd: its schema is %d, and this one knows %d: "+
		"nothing was changed and what runs goes on; install the newer roostd again, or restore a backup that this one wrote",
		e.Path, e.Schema, schema)
}

// damage is what makes a file one to be restored.
type damage struct{ err error }

func (d *damage) Error() string { return d.err.Error() }

func (d *damage) Unwrap() error { return d.err }

func damaged(format string, args ...any) error { return &damage{fmt.Errorf(format, args...)} }

// Open opens the file at path. Where it is damaged, cut off or gone it is made
// again from its last good copy, see Restored; without one, it fails with an
// *UnreadableError. Where there has never been one, which it believes unless used
// says that a daemon has run here, it makes one. It fails with a *NewerError for a
// file of a newer roostd.
func Open(path string, used bool) (*Store, error) {
	found, err := read(path)
	var restored *Restored
	switch d, isDamage := errors.AsType[*damage](err); {
	case err == nil:
	case isDamage:
		restored, err = restore(path, d)
	case errors.Is(err, fs.ErrNotExist) && (used || exists(copyOf(path))):
		restored, err = restore(path, errMissing)
	case errors.Is(err, fs.ErrNotExist):
		err = create(path)
	}
	if err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process: end it first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	s := &Store{path: path, db: db, changed: make(chan struct{}, 1), restored: restored}
	s.touch() // the copy may be older
	if _, summed := found[string(bucketMeta)][string(keySum)]; found != nil && !summed {
		if err := s.upgrade(found); err != nil {
			return nil, errors.Join(fmt.Errorf("bringing %s up to date: %w", path, err), db.Close())
		}
	}
	return s, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
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
		return fmt.Errorf("creating %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	s := &Store{db: db, changed: make(chan struct{}, 1)}
	if err == nil {
		err = s.update(func(w *writer) error { return w.put(bucketMeta, string(keySchema), number64(schema)) })
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	return moveIntoPlace(temp, path)
}

// moveIntoPlace renames a file that is synced, durably.
func moveIntoPlace(temp, path string) error {
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// upgrade brings a file of schema 1 up to date.
func (s *Store) upgrade(found content) error {
	return s.update(func(w *writer) error {
		w.sum = sumOf(found)
		return w.put(bucketMeta, string(keySchema), number64(schema))
	})
}

// read returns what a file holds, once all of it makes sense. It fails with a
// *damage, a *NewerError, or why the file cannot be read.
func read(path string) (content, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, damaged("it is empty")
	}
	all, err := scan(data)
	if err != nil {
		return nil, &damage{err}
	}
	meta := all[string(bucketMeta)]
	v := toNumber(meta[string(keySchema)])
	if v > schema { // whatever else it is: what is in it is not ours to judge
		return nil, &NewerError{path, v}
	}
	for _, name := range buckets {
		if all[string(name)] == nil {
			return nil, damaged("it has no bucket %q", name)
		}
	}
	switch sum, summed := meta[string(keySum)]; {
	case v == 0:
		return nil, damaged("its schema is 0")
	case summed != (v > 1), summed && toNumber(sum) != sumOf(all):
		return nil, damaged("its sum is wrong")
	}
	if v == 1 { // without a sum that is all that can be asked
		err = errors.Join(decode[app.Stored](all, bucketApps), decode[app.Proxy](all, bucketProxies))
	}
	return all, err
}

// decode tries every value of a bucket.
func decode[T any](all content, bucket []byte) error {
	for key, value := range all[string(bucket)] {
		var item T
		if err := json.Unmarshal(value, &item); err != nil {
			return damaged("%s %q: %w", bucket, key, err)
		}
	}
	return nil
}
