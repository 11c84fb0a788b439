package discovery

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
)

func openState(t *testing.T, dir, bootID string) *State {
	t.Helper()
	s, err := OpenState(dir, bootID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestState_ProxyIDIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	first := openState(t, dir, "")
	id := first.ProxyID()
	if len(id) != idLength {
		t.Fatalf("id %q", id)
	}
	// A successor that starts while the first drains is somebody else.
	first.Leave()
	second := openState(t, dir, "")
	if second.ProxyID() == id {
		t.Error("two processes are one proxy")
	}
	first.Close()
	second.Close()
	if third := openState(t, dir, ""); third.ProxyID() != second.ProxyID() {
		t.Errorf("id %q, want the kept %q", third.ProxyID(), second.ProxyID())
	}
	wantMode(t, dir, fs.ModeDir|0o700)
	wantMode(t, filepath.Join(dir, "proxy-id"), 0o600)
}

func TestState_OneProxyAtATime(t *testing.T) {
	dir := t.TempDir()
	first := openState(t, dir, "")
	_, err := OpenState(dir, "")
	if want := "pid " + strconv.Itoa(os.Getpid()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("a second proxy: %v, want it refused with %q", err, want)
	}
	if got := openState(t, t.TempDir(), "").ProxyID(); got == first.ProxyID() {
		t.Error("two directories have one proxy")
	}

	first.Leave()
	openState(t, dir, "")
	first.Close()
	if _, err := OpenState(dir, ""); err == nil {
		t.Error("the end of one that had left let a third in")
	}
}

func TestState_TidiesAfterOneThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".snapshot-123", ".proxy-id-9"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openState(t, dir, "")
	if err := s.save(1, nil); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"lock", "proxy-id", "snapshot.json"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

func TestState_DamagedProxyIDIsReplaced(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "proxy-id"), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id := openState(t, dir, "").ProxyID(); len(id) != idLength {
		t.Errorf("id %q", id)
	}
}

func TestState_Unusable(t *testing.T) {
	if _, err := OpenState("/dev/null/x", ""); err == nil {
		t.Error("no error")
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

func TestSnapshot_ServesWithoutADaemon(t *testing.T) {
	for bootID, want := range map[string]string{"boot": "a1", "another boot": ""} {
		d := fakedaemon.New(1, set("a", 1, "a1"))
		inBubble(t, d, func(t *testing.T, r *rig) {
			synctest.Wait()
			d.Publish(drained(set("b", 1, "b1")))
			time.Sleep(saveDelay)
			synctest.Wait()
			wantMode(t, filepath.Join(r.dir, "snapshot.json"), 0o600)

			file, err := os.ReadFile(filepath.Join(r.dir, "snapshot.json"))
			if err != nil {
				t.Fatal(err)
			}
			// Elsewhere, and without a daemon.
			r.dir, r.listener = t.TempDir(), nil
			if err := os.WriteFile(filepath.Join(r.dir, "snapshot.json"), file, 0o600); err != nil {
				t.Fatal(err)
			}
			r.start(bootID)
			defer r.stop()
			if got := r.lookup("a", "/"); got != "a" {
				t.Errorf("%s: route leads to %q, want a", bootID, got)
			}
			if got := r.acquire("a"); got != want {
				t.Errorf("%s: a is at %q, want %q", bootID, got, want)
			}
			if n := len(loadOf(r.Link, "b").Instances); n != 0 {
				t.Errorf("%s: %d instances that drained for another process", bootID, n)
			}
			if r.Blind() {
				t.Errorf("%s: blind with a snapshot", bootID)
			}
			if r.isSynced() {
				t.Errorf("%s: synced with a file", bootID)
			}
			if p := r.Registry().Get("a").Policy(); p.Queue != defaultQueue {
				t.Errorf("%s: policy %+v was lost", bootID, p)
			}
		})
	}
}

func TestSnapshot_AChangeIsSavedAtOnceAndMoreTogetherOrAtTheEnd(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1))
	inBubble(t, d, func(t *testing.T, r *rig) {
		settle()
		time.Sleep(saveDelay)
		saved := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			if _, apps, err := (&State{dir: r.dir}).load(); err != nil || len(apps) != want {
				t.Errorf("%d apps saved %s, %v; want %d", len(apps), when, err, want)
			}
		}
		d.Publish(set("b", 1))
		saved(2, "at once")
		time.Sleep(saveDelay / 2)
		d.Publish(set("c", 1))
		saved(2, "soon after")
		d.Publish(set("d", 1))
		time.Sleep(saveDelay)
		saved(4, "later")
		d.Publish(set("e", 1))
		synctest.Wait()
		r.stop()
		saved(5, "at the end")
	})
}

func TestSnapshot_KeepsThePageOfAnAppThatIsOffline(t *testing.T) {
	s := openState(t, t.TempDir(), "boot")
	page := "<p>\xff\x00</p>"
	wire := set("a", 1)
	wire.Offline = &roostv1.Offline{Page: []byte(page)}
	if err := s.save(1, []app{appFrom(wire), appFrom(set("b", 1))}); err != nil {
		t.Fatal(err)
	}
	_, apps, err := s.load()
	if err != nil || len(apps) != 2 || apps[0].Set.Offline == nil || string(apps[0].Set.Offline.Page) != page || apps[1].Set.Offline != nil {
		t.Errorf("%+v, %v", apps, err)
	}
}

func TestSnapshot_Unreadable(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir, "boot")
	for _, content := range []string{"", "{", `{"Version":99}`} {
		if err := os.WriteFile(s.snapshotPath(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.load(); err == nil {
			t.Errorf("%q was loaded", content)
		}
	}
}
