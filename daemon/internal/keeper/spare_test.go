package keeper

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func wantInstanceDir(t *testing.T, path string) {
	t.Helper()
	for _, stream := range streams {
		info, err := os.Lstat(filepath.Join(path, stream))
		if err != nil || info.Mode() != fs.ModeNamedPipe|0o600 {
			t.Errorf("%s: %v, %v; want a FIFO for the keeper only", stream, info, err)
		}
	}
}

func TestSpare_TakeDoesWithoutOne(t *testing.T) {
	s := newSpare(t.TempDir())
	path := filepath.Join(s.dir, "instance")
	if err := s.take(path); err != nil {
		t.Fatal(err)
	}
	wantInstanceDir(t, path)
	if err := s.take(path); err == nil {
		t.Error("a folder that is there already was taken over")
	}
}

func TestSpare_TakeMovesTheSpareAndAnotherIsMade(t *testing.T) {
	s := newSpare(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	for _, name := range []string{"first", "second"} {
		spare := s.awaitReady(t)
		path := filepath.Join(s.dir, name)
		if err := s.take(path); err != nil {
			t.Fatal(err)
		}
		wantInstanceDir(t, path)
		if _, err := os.Lstat(spare); !os.IsNotExist(err) {
			t.Errorf("the spare is still there: %v", err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func (s *spare) awaitReady(t *testing.T) string {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		path := s.path
		s.mu.Unlock()
		if path != "" {
			return path
		}
	}
	t.Fatal("no spare is made")
	return ""
}
