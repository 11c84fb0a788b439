package store

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"

	"github.com/roostd/roost/daemon/internal/app"
)

// saved makes a file of several pages and closes it, with a copy beside it.
func saved(t testing.TB, path string) []app.Stored {
	t.Helper()
	s, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", "api", "jobs"} {
		for n := range int64(6) { // pages become free, and are used again
			if err := s.Save([]app.Stored{stored(name, n+1)}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	big := stored("web", 1, 2, 7)
	big.Generations[0].Spec.Env["BIG"] = strings.Repeat("x", 20_000)
	err = errors.Join(s.Save([]app.Stored{big}, []string{"jobs"}), s.SaveProxies([]app.Proxy{{ID: "a", PID: 7}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	apps, err := s.Load()
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return apps
}

// damages is what may become of a file.
var damages = map[string]struct {
	do   func(t *testing.T, path string)
	want string
}{
	"gone": {func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}, "it is gone"},
	"empty":     {func(t *testing.T, path string) { truncate(t, path, 0) }, "it is empty"},
	"cut off":   {func(t *testing.T, path string) { truncate(t, path, 3*4096) }, "cut off"},
	"one page":  {func(t *testing.T, path string) { truncate(t, path, 4096) }, "cut off"},
	"not bbolt": {func(t *testing.T, path string) { overwrite(t, path, 0, 8192) }, "does not begin"},
	"one head":  {func(t *testing.T, path string) { overwrite(t, path, 4096, 8192) }, "does not begin"},
	"zeroed":    {func(t *testing.T, path string) { overwrite(t, path, 8192, 1<<20) }, ""},
	"no bucket": {func(t *testing.T, path string) {
		edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketApps) })
	}, "no bucket"},
	"an app is missing": {func(t *testing.T, path string) {
		edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketApps).Delete([]byte("web")) })
	}, "sum"},
	"an app is another": {func(t *testing.T, path string) {
		edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketApps).Put([]byte("web"), []byte("{}")) })
	}, "sum"},
	"no sum": {func(t *testing.T, path string) {
		edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keySum) })
	}, "sum"},
	"of schema 1, not decodable": {func(t *testing.T, path string) {
		edit(t, path, func(tx *bolt.Tx) error {
			meta := tx.Bucket(bucketMeta)
			return errors.Join(meta.Delete(keySum), meta.Put(keySchema, number64(1)), tx.Bucket(bucketApps).Put([]byte("web"), []byte("{")))
		})
	}, `apps "web"`},
}

func TestOpen_RestoresFromTheCopy(t *testing.T) {
	for name, tt := range damages {
		t.Run(name, func(t *testing.T) {
			path := testPath(t)
			want := saved(t, path)
			tt.do(t, path)
			before, _ := os.ReadFile(path)
			s := mustOpen(t, path)
			defer s.Close()
			r := s.Restored()
			if r == nil || !strings.Contains(r.Why, tt.want) || r.Time.IsZero() {
				t.Fatalf("restored %+v, want why with %q", r, tt.want)
			}
			if got, err := s.Load(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
			if name != "gone" {
				if kept, err := os.ReadFile(r.Kept); err != nil || string(kept) != string(before) {
					t.Errorf("the damaged file is not kept as it was: %v", err)
				}
			}
			// Numbers that were given after the copy was made are not given again.
			if n, err := s.NextGeneration("web"); err != nil || n != 8+skip {
				t.Errorf("the next generation is %d (%v), want %d", n, err, 8+skip)
			}
			if n, err := s.NextEpoch(); err != nil || n != skip+1 {
				t.Errorf("the next epoch is %d (%v), want %d", n, err, skip+1)
			}
		})
	}
}

func TestOpen_RefusesWhatItCannotRestore(t *testing.T) {
	for name, tt := range damages {
		t.Run(name, func(t *testing.T) {
			path := testPath(t)
			saved(t, path)
			tt.do(t, path)
			if err := os.RemoveAll(copyOf(path)); err != nil {
				t.Fatal(err)
			}
			before := files(t, path)
			s, err := Open(path, true)
			if err == nil {
				apps, lerr := s.Load()
				t.Fatalf("it was opened, with %d apps (%v)", len(apps), lerr)
			}
			if _, ok := errors.AsType[*UnreadableError](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an UnreadableError with %q", err, tt.want)
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("%v: it does not say which file and what to do", err)
			}
			if after := files(t, path); !maps.Equal(before, after) {
				t.Errorf("files %v became %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
		})
	}
}

func TestOpen_RefusesAFileOfANewerRoostd(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"itself":   func(*testing.T, string) {},
		"its copy": func(t *testing.T, path string) { truncate(t, path, 5000) },
	} {
		t.Run(name, func(t *testing.T) {
			path := testPath(t)
			saved(t, path)
			s := mustOpen(t, path)
			err := s.update(func(w *writer) error { return w.put(bucketMeta, string(keySchema), number64(schema+1)) })
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path) // the newer one's copy: this version makes none
			if err := errors.Join(err, os.WriteFile(copyOf(path), data, 0o600)); err != nil {
				t.Fatal(err)
			}
			damage(t, path)
			before := files(t, path)
			_, err = Open(path, true)
			if newer, ok := errors.AsType[*NewerError](err); !ok || newer.Schema != schema+1 {
				t.Fatalf("got %v, want a NewerError", err)
			}
			if after := files(t, path); !maps.Equal(before, after) {
				t.Error("files were changed")
			}
		})
	}
}

func TestOpen_BringsSchema1UpToDate(t *testing.T) {
	path := testPath(t)
	want := saved(t, path)
	edit(t, path, func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		return errors.Join(meta.Delete(keySum), meta.Put(keySchema, number64(1)))
	})
	for range 2 {
		s := mustOpen(t, path)
		if got, err := s.Load(); err != nil || s.Restored() != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v, restored %+v", got, err, s.Restored())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if all, err := read(path); err != nil || toNumber(all["meta"]["schema"]) != schema {
			t.Fatalf("it is not of schema %d: %v", schema, err)
		}
	}
}

func TestOpen_ANewMachineHasNoApps(t *testing.T) {
	path := testPath(t)
	if _, err := Open(path, true); err == nil {
		t.Error("a file that must have been there was made anew")
	}
	s := mustOpen(t, path)
	defer s.Close()
	if apps, err := s.Load(); err != nil || len(apps) != 0 || s.Restored() != nil {
		t.Errorf("got %v, %v, restored %v", apps, err, s.Restored())
	}
}

func TestOpen_AFolderIsNoFile(t *testing.T) {
	path := testPath(t)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, false); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want one that names it", err)
	}
}

func TestCopy_IsKeptWhereTheFileIsDamaged(t *testing.T) {
	path := testPath(t)
	want := saved(t, path)
	s := mustOpen(t, path)
	defer s.Close()
	good, err := os.ReadFile(copyOf(path))
	if err != nil {
		t.Fatal(err)
	}
	// By another descriptor, as a disk that turns bits does.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(data), `"BIG":"xxx`)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("y"), int64(at)+8)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.copy(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("copy: %v, want that it is damaged", err)
	}
	if after, _ := os.ReadFile(copyOf(path)); string(after) != string(good) || exists(copyOf(path)+".new") {
		t.Error("the last good copy was replaced, or the bad one is left")
	}
	_ = s.db.Close()
	again := mustOpen(t, path)
	defer again.Close()
	if got, err := again.Load(); err != nil || again.Restored() == nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRun_CopiesWhatChanges(t *testing.T) {
	path := testPath(t)
	s := mustOpen(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- s.Run(ctx, hclog.NewNullLogger()) }()
	if err := s.Save([]app.Stored{stored("web", 1)}, nil); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if all, err := read(copyOf(path)); err == nil && len(all["apps"]) == 1 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("there is no copy")
		}
	}
	cancel()
	if err := errors.Join(<-done, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestOpen_ABitNeverPasses turns bits, and cuts the file, at random: what is opened
// then is what was saved.
func TestOpen_ABitNeverPasses(t *testing.T) {
	path := testPath(t)
	want := saved(t, path)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	const rounds = 150
	for range rounds {
		data := slices.Clone(good)
		for range 1 + random.IntN(3) {
			data[random.IntN(len(data))] ^= 1 << random.IntN(8)
		}
		if random.IntN(4) == 0 {
			data = data[:random.IntN(len(data))]
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := read(path); err != nil {
			_, ok := errors.AsType[*damage](err)
			if _, newer := errors.AsType[*NewerError](err); !ok && !newer { // a bit of its schema
				t.Fatalf("%v: it would not be restored", err)
			}
			refused++
			continue
		}
		s := mustOpen(t, path)
		got, err := s.Load()
		if err := errors.Join(err, s.db.Close()); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	t.Logf("%d of %d were refused", refused, rounds)
	if refused == 0 || refused == rounds {
		t.Errorf("%d of %d files were refused: nothing was tested", refused, rounds)
	}
}

// FuzzScan holds scan to bbolt: it never panics, and what it accepts bbolt reads the
// same.
func FuzzScan(f *testing.F) {
	path := filepath.Join(f.TempDir(), "roost.db")
	saved(f, path)
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{})
	f.Add(uint32(8192+8), []byte{1})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		changed := slices.Clone(data)
		copy(changed[int(at)%len(changed):], patch)
		all, err := scan(changed)
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "roost.db")
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = db.View(func(tx *bolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
				return b.ForEach(func(k, v []byte) error {
					if got, ok := all[string(name)][string(k)]; !ok || string(got) != string(v) {
						t.Errorf("%s %q: scan has %q, bbolt %q", name, k, got, v)
					}
					delete(all[string(name)], string(k))
					return nil
				})
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		for bucket, left := range all {
			if len(left) > 0 {
				t.Errorf("%s: bbolt lacks %d pairs", bucket, len(left))
			}
		}
	})
}

// files is what lies beside a file and in it.
func files(t *testing.T, path string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(path), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// overwrite fills a part of the file with bytes that mean nothing.
func overwrite(t *testing.T, path string, from, to int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < min(to, int64(len(data))); i++ {
		data[i] = 0xa5
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit changes a file without its sum.
func edit(t *testing.T, path string, fn func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}
