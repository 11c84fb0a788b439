package store

import (
	"crypto/sha256"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// The file holds one number over all its pairs, so that a bit that has turned in a
// value, or a pair that is missing, does not pass for what was saved. It is the
// exclusive or of a hash of each pair, so a write brings it up to date from what
// it changes alone.

// sumOf is the number of all pairs but its own.
func sumOf(all content) uint64 {
	var sum uint64
	for bucket, pairs := range all {
		for key, value := range pairs {
			if bucket != string(bucketMeta) || key != string(keySum) {
				sum ^= hash([]byte(bucket), []byte(key), value)
			}
		}
	}
	return sum
}

func hash(parts ...[]byte) uint64 {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write(number64(uint64(len(p)))) // it never fails
		_, _ = h.Write(p)
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// writer changes pairs within a transaction, and their sum with them.
type writer struct {
	tx  *bolt.Tx
	sum uint64
}

// update runs f in a transaction, which is durable when it returns.
func (s *Store) update(f func(w *writer) error) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		w := &writer{tx: tx, sum: toNumber(meta.Get(keySum))}
		if err := f(w); err != nil {
			return err
		}
		return meta.Put(keySum, number64(w.sum))
	})
	if err == nil {
		s.touch()
	}
	return err
}

func (w *writer) get(bucket []byte, key string) []byte {
	return w.tx.Bucket(bucket).Get([]byte(key))
}

func (w *writer) put(bucket []byte, key string, value []byte) error {
	w.forget(bucket, key)
	w.sum ^= hash(bucket, []byte(key), value)
	return w.tx.Bucket(bucket).Put([]byte(key), value)
}

func (w *writer) delete(bucket []byte, key string) error {
	w.forget(bucket, key)
	return w.tx.Bucket(bucket).Delete([]byte(key))
}

// forget takes a pair that is there out of the sum.
func (w *writer) forget(bucket []byte, key string) {
	if old := w.get(bucket, key); old != nil {
		w.sum ^= hash(bucket, []byte(key), old)
	}
}
