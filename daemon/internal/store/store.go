// Package store keeps what must survive the daemon in one bbolt file: apps with
// their generations and desired states, the counters that outlive an app, the
// daemon's epoch and the proxies it knows. Nothing here is on the way of a
// request: what runs is the keeper's truth, not the store's.
//
// Beside the file lies its last good copy. A file that is damaged, cut off or gone
// is made again from that; without one it is refused, and never taken for an empty
// one: that would end every app.
package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"

	bolt "go.etcd.io/bbolt"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/failpoint"
)

// schema is the version of the file's layout. A newer one is refused; an older one
// is brought up to it. 1 had no sum.
const schema = 2

var (
	bucketMeta     = []byte("meta")     // schema, epoch, id and sum, 8 bytes big endian each
	bucketApps     = []byte("apps")     // name → app.Stored as JSON
	bucketCounters = []byte("counters") // name → its highest generation ever, 8 bytes big endian
	bucketProxies  = []byte("proxies")  // id → app.Proxy as JSON
	buckets        = [][]byte{bucketMeta, bucketApps, bucketCounters, bucketProxies}

	keySchema = []byte("schema")
	keyEpoch  = []byte("epoch")
	keySum    = []byte("sum")
	keyID     = []byte("id")
)

// Store is an open file. Every write is one transaction, durable when it returns.
type Store struct {
	path     string
	db       *bolt.DB
	changed  chan struct{} // holds one: there is something to copy
	restored *Restored
}

// Close copies what has changed and releases the file.
func (s *Store) Close() error {
	select {
	case <-s.changed:
		_ = s.copy() // else the next start does it
	default:
	}
	return s.db.Close()
}

// Restored tells what Open had to make the file again for; nil: it had not.
func (s *Store) Restored() *Restored { return s.restored }

// NextEpoch counts one more start of the daemon.
func (s *Store) NextEpoch() (uint64, error) {
	var epoch uint64
	err := s.update(func(w *writer) error {
		epoch = toNumber(w.get(bucketMeta, string(keyEpoch))) + 1
		return w.put(bucketMeta, string(keyEpoch), number64(epoch))
	})
	return epoch, wrap("counting the daemon's start", err)
}

// ID returns a random number that is this file's for ever, and of no other.
func (s *Store) ID() (uint64, error) {
	var id uint64
	err := s.update(func(w *writer) error {
		if id = toNumber(w.get(bucketMeta, string(keyID))); id != 0 {
			return nil
		}
		id = rand.Uint64() | 1
		return w.put(bucketMeta, string(keyID), number64(id))
	})
	return id, wrap("reading the state's id", err)
}

// Load returns every app, by name.
func (s *Store) Load() ([]app.Stored, error) {
	return all[app.Stored](s, bucketApps)
}

// Save writes the given apps and removes the named ones in one transaction.
func (s *Store) Save(put []app.Stored, remove []string) error {
	failpoint.Here(failpoint.Save)
	err := s.update(func(w *writer) error {
		for _, a := range put {
			if err := w.putJSON(bucketApps, a.Name, a); err != nil {
				return err
			}
			if err := w.count(a); err != nil {
				return err
			}
		}
		for _, name := range remove {
			if err := w.delete(bucketApps, name); err != nil {
				return err
			}
		}
		failpoint.Here(failpoint.Commit)
		return nil
	})
	failpoint.Here(failpoint.Saved)
	return wrap("saving apps", err)
}

// count raises an app's counter to its highest generation.
func (w *writer) count(a app.Stored) error {
	highest := toNumber(w.get(bucketCounters, a.Name))
	for _, g := range a.Generations {
		highest = max(highest, uint64(g.Number))
	}
	return w.put(bucketCounters, a.Name, number64(highest))
}

// NextGeneration returns the number after the highest that an app of this name
// was ever saved with. It changes nothing: Save of a generation takes the number.
func (s *Store) NextGeneration(name string) (int64, error) {
	var highest uint64
	err := s.db.View(func(tx *bolt.Tx) error {
		highest = toNumber(tx.Bucket(bucketCounters).Get([]byte(name)))
		return nil
	})
	return int64(highest) + 1, wrap("reading the counter of "+name, err)
}

// Proxies returns every known proxy, by id.
func (s *Store) Proxies() ([]app.Proxy, error) {
	return all[app.Proxy](s, bucketProxies)
}

// SaveProxies writes the given proxies and removes the named ones in one transaction.
func (s *Store) SaveProxies(put []app.Proxy, remove []string) error {
	err := s.update(func(w *writer) error {
		for _, p := range put {
			if err := w.putJSON(bucketProxies, p.ID, p); err != nil {
				return err
			}
		}
		for _, id := range remove {
			if err := w.delete(bucketProxies, id); err != nil {
				return err
			}
		}
		return nil
	})
	return wrap("saving proxies", err)
}

// all decodes every value of a bucket, in the order of its keys.
func all[T any](s *Store, bucket []byte) ([]T, error) {
	var list []T
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			var item T
			if err := json.Unmarshal(v, &item); err != nil {
				return fmt.Errorf("%s %q: %w", bucket, k, err)
			}
			list = append(list, item)
			return nil
		})
	})
	return list, wrap("reading "+string(bucket), err)
}

func (w *writer) putJSON(bucket []byte, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.put(bucket, key, data)
}

// toNumber reads 8 bytes big endian; an absent value is 0.
func toNumber(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func number64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
