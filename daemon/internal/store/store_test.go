package store

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func testPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "roost.db")
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, false)
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

func TestStore_IDIsOfOneFileForEver(t *testing.T) {
	seen := map[uint64]bool{}
	for range 2 {
		path := filepath.Join(t.TempDir(), "db")
		for range 3 {
			s, err := Open(path, false)
			if err != nil {
				t.Fatal(err)
			}
			id, err := s.ID()
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
			seen[id] = true
		}
	}
	if len(seen) != 2 || seen[0] {
		t.Errorf("the ids of two files: %v", seen)
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
	if _, err := Open(path, false); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want one that says it is in use", err)
	}
}
