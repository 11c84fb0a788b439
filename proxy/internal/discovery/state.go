package discovery

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/roostd/roost/proxy/internal/backend"
)

// State is the proxy's state directory: who it is, and what it last knew. All
// in it is for its owner only, the tokens of apps are among it.
type State struct {
	dir    string
	bootID string
	id     string
	locked *os.File // the id's file
	lock   *os.File // see take
	left   atomic.Bool
}

// OpenState opens the state directory dir, which is made where it is missing.
// bootID tells this start of the machine from others; addresses that were known
// in another one lead nowhere, or to strangers. One that another proxy serves from
// is refused.
func OpenState(dir, bootID string) (*State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w: name one that this user may write to with --state-dir", err)
	}
	s := &State{dir: dir, bootID: bootID}
	if err := s.take(); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	}
	s.tidy()
	if err := s.identify(); err != nil {
		_ = s.lock.Close()
		return nil, fmt.Errorf("state directory %s: proxy id: %w", dir, err)
	}
	return s, nil
}

// ProxyID names this proxy to the daemon, across its restarts.
func (s *State) ProxyID() string { return s.id }

// Leave lets a successor have the state directory, while this process finishes what
// it has open. What either saves is what the daemon says now.
func (s *State) Leave() {
	if s.left.CompareAndSwap(false, true) {
		_ = s.lock.Close()
	}
}

// Close lets another process be this proxy.
func (s *State) Close() error {
	s.Leave()
	return s.locked.Close()
}

// take makes the state directory this process's, until Leave or its end, however it
// ends. The file holds the pid, for whoever finds it locked.
func (s *State) take() error {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if !lock(f) {
		defer func() { _ = f.Close() }()
		pid, _ := io.ReadAll(io.LimitReader(f, 32))
		return fmt.Errorf("another roost-proxy serves from it, pid %s: stop that one, or name another --state-dir", cmp.Or(strings.TrimSpace(string(pid)), "unknown"))
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	s.lock = f
	return nil
}

// tidy removes what processes that were killed had begun to write.
func (s *State) tidy() {
	for _, pattern := range []string{snapshotTemp, idTemp} {
		half, _ := filepath.Glob(filepath.Join(s.dir, pattern+"*")) // the pattern is good
		for _, path := range half {
			_ = os.Remove(path) // in nobody's way
		}
	}
}

// What the names of files begin with until they are whole.
const (
	snapshotTemp = ".snapshot-"
	idTemp       = ".proxy-id-"
)

// identify reads the proxy's id, or makes one. The id belongs to whoever has its
// file locked: a successor that starts while this process drains, see Leave, gets an
// id of its own, or the daemon would take the one's goodbye for the other's.
func (s *State) identify() error {
	path := filepath.Join(s.dir, "proxy-id")
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err == nil {
		if id, ok := readID(f); ok && lock(f) {
			s.id, s.locked = id, f
			return nil
		}
		_ = f.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.newID(path)
}

func (s *State) newID(path string) error {
	id := strings.ToLower(rand.Text())
	f, err := os.CreateTemp(s.dir, idTemp) // 0600
	if err != nil {
		return err
	}
	// Locked before it has its name, so that nobody else takes it.
	if !lock(f) {
		err = errors.New("the file system does not lock files")
	} else if _, err = f.WriteString(id + "\n"); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		_ = f.Close()
		return err
	}
	s.id, s.locked = id, f
	return nil
}

// idLength is that of rand.Text.
const idLength = 26

func readID(f *os.File) (string, bool) {
	b, err := io.ReadAll(io.LimitReader(f, 2*idLength))
	id := strings.TrimSpace(string(b))
	return id, err == nil && len(id) == idLength
}

// lock reports whether f is now this process's. The lock ends with the process.
func lock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// snapshotVersion changes when an older program could not make sense of the file.
const snapshotVersion = 1

// snapshot is the form of the file.
type snapshot struct {
	Version int
	BootID  string
	Epoch   uint64
	Apps    []app
}

func (s *State) snapshotPath() string { return filepath.Join(s.dir, "snapshot.json") }

// load returns what was saved; nothing where nothing was. From another start of
// the machine it is the routes only.
func (s *State) load() (epoch uint64, apps []app, err error) {
	b, err := os.ReadFile(s.snapshotPath())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	var saved snapshot
	if err := json.Unmarshal(b, &saved); err != nil {
		return 0, nil, err
	}
	if saved.Version != snapshotVersion {
		return 0, nil, fmt.Errorf("its version is %d and this program reads %d", saved.Version, snapshotVersion)
	}
	sameBoot := s.bootID != "" && saved.BootID == s.bootID
	for i := range saved.Apps {
		set := &saved.Apps[i].Set
		set.Endpoints = slices.DeleteFunc(set.Endpoints, func(e backend.Endpoint) bool {
			return !sameBoot || e.Draining // what drained, drained for a process that is gone
		})
	}
	return saved.Epoch, saved.Apps, nil
}

// save writes what load is to return. A reader, or a crash, finds the old file or
// the new one.
func (s *State) save(epoch uint64, apps []app) error {
	if err := s.write(epoch, apps); err != nil && !s.left.Load() { // a successor has tidied
		return err
	}
	return nil
}

func (s *State) write(epoch uint64, apps []app) error {
	b, err := json.Marshal(snapshot{Version: snapshotVersion, BootID: s.bootID, Epoch: epoch, Apps: apps})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, snapshotTemp) // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), s.snapshotPath())
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
