package store

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/roostd/roost/daemon/internal/app"
)

func testPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "roost.db")
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stored(name string, generations ...int64) app.Stored {
	a := app.Stored{Name: name}
	for _, n := range generations {
		a.Generations = append(a.Generations, app.Generation{
			Number: n, Time: time.Unix(n, 7).UTC(), Actor: "uid 0 (root)", ResolvedDir: "/srv/" + name,
			Spec: app.Spec{
				Name: name, Command: []string{"./server", "--x"}, Env: map[string]string{"A": "b"}, Instances: new(3),
				Stop:   app.Stop{Timeout: new(10 * time.Second)},
				Routes: []app.Route{{Host: "a.test", Path: "/"}},
			},
		})
		a.Desired, a.Serving = n, n
	}
	return a
}

func TestStore_KeepsAppsAcrossOpen(t *testing.T) {
	path := testPath(t)
	s := mustOpen(t, path)
	web, api := stored("web", 1, 2), stored("api", 1)
	web.Stopped = true
	web.Failed = &app.FailedRollout{Generation: 2, Message: "it exited", Time: time.Unix(9, 0).UTC()}
	if err := s.Save([]app.Stored{web, api}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	defer s.Close()
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if want := []app.Stored{api, web}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestStore_CountersOutliveTheApp(t *testing.T) {
	s := mustOpen(t, testPath(t))
	defer s.Close()
	next := func() int64 {
		t.Helper()
		n, err := s.NextGeneration("web")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := next(); n != 1 {
		t.Errorf("a new app's first generation is %d, want 1", n)
	}
	if err := s.Save([]app.Stored{stored("web", 1, 2, 3)}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(nil, []string{"web"}); err != nil {
		t.Fatal(err)
	}
	if n := next(); n != 4 {
		t.Errorf("after the app was removed it is %d, want 4", n)
	}
	if n := next(); n != 4 {
		t.Errorf("asking took the number: %d, want 4", n)
	}
	// An app that comes back with a lower number does not lower the counter.
	if err := s.Save([]app.Stored{stored("web", 2)}, nil); err != nil {
		t.Fatal(err)
	}
	if n := next(); n != 4 {
		t.Errorf("a lower generation made it %d, want 4", n)
	}
}

func TestStore_EpochCountsStarts(t *testing.T) {
	path := testPath(t)
	for want := uint64(1); want <= 3; want++ {
		s := mustOpen(t, path)
		got, err := s.NextEpoch()
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("epoch %d, want %d", got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStore_KeepsProxies(t *testing.T) {
	s := mustOpen(t, testPath(t))
	defer s.Close()
	a := app.Proxy{ID: "a", Version: "1", PID: 7, StartTime: 99, LastSeen: time.Unix(5, 0).UTC(), Listeners: []app.ProxyListener{{Port: 80}}}
	if err := s.SaveProxies([]app.Proxy{a, {ID: "b"}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveProxies(nil, []string{"b", "never"}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Proxies()
	if err != nil {
		t.Fatal(err)
	}
	if want := []app.Proxy{a}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestOpen_RefusesWhatItCannotRead(t *testing.T) {
	tests := map[string]struct {
		damage func(t *testing.T, path string)
		want   string
	}{
		"empty":       {func(t *testing.T, path string) { truncate(t, path, 0) }, "it is empty"},
		"cut off":     {func(t *testing.T, path string) { truncate(t, path, 3*4096) }, "cut off"},
		"one page":    {func(t *testing.T, path string) { truncate(t, path, 4096) }, ""},
		"not bbolt":   {func(t *testing.T, path string) { overwrite(t, path, 0, 8192) }, "invalid database"},
		"zeroed data": {func(t *testing.T, path string) { overwrite(t, path, 8192, 1<<20) }, ""},
		"no bucket":   {dropBucket, "no bucket"},
		"bad json":    {badApp, `apps "web"`},
		"newer":       {newerSchema, "schema is 2"},
		"a folder": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := testPath(t)
			s := mustOpen(t, path)
			big := stored("web", 1)
			big.Generations[0].Spec.Env["BIG"] = strings.Repeat("x", 100_000)
			if err := errors.Join(s.Save([]app.Stored{big}, nil), s.Close()); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, path)
			before, _ := os.ReadFile(path)
			s, err := Open(path)
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
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOpen_AnInterruptedCreationIsRepeated(t *testing.T) {
	path := testPath(t)
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	defer s.Close()
	if apps, err := s.Load(); err != nil || len(apps) != 0 {
		t.Errorf("got %v, %v", apps, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600: specs hold secrets", info.Mode().Perm())
	}
}

func TestOpen_InUse(t *testing.T) {
	path := testPath(t)
	s := mustOpen(t, path)
	defer s.Close()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want one that says it is in use", err)
	}
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

func dropBucket(t *testing.T, path string) {
	t.Helper()
	edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketApps) })
}

func badApp(t *testing.T, path string) {
	t.Helper()
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketApps).Put([]byte("web"), []byte("{")) })
}

func newerSchema(t *testing.T, path string) {
	t.Helper()
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, bytes(schema+1)) })
}
