package keeper

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// streams are the outputs of an instance, each with a FIFO in its folder.
var streams = []string{"stdout", "stderr"}

// spareAfter is how long after a launch the next spare is made: not while the
// launch needs the disk and the processor.
const spareAfter = 50 * time.Millisecond

// spare is an instance's folder with its FIFOs, made ahead. A file system with a
// journal takes a good half millisecond to make one, and a request that finds
// its app cold would wait for that. One that a keeper leaves behind has no
// record, and is removed by the next.
type spare struct {
	dir  string // of the instances
	want chan struct{}

	mu   sync.Mutex
	path string // "" where none is ready
}

func newSpare(dir string) *spare {
	s := &spare{dir: dir, want: make(chan struct{}, 1)}
	s.want <- struct{}{}
	return s
}

// run makes a spare whenever one was taken.
func (s *spare) run(ctx context.Context) error {
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-s.want:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(spareAfter):
		}
		path := filepath.Join(s.dir, "spare-"+strconv.Itoa(n))
		if makeInstanceDir(path) != nil {
			_ = os.RemoveAll(path) // a launch makes its own, and says why it cannot
			continue
		}
		s.mu.Lock()
		s.path = path
		s.mu.Unlock()
	}
}

// take makes path an instance's folder, from the spare where one is ready.
func (s *spare) take(path string) error {
	s.mu.Lock()
	ready := s.path
	s.path = ""
	s.mu.Unlock()
	select {
	case s.want <- struct{}{}:
	default:
	}
	if ready != "" && os.Rename(ready, path) == nil {
		return nil
	}
	return makeInstanceDir(path)
}

// makeInstanceDir makes an instance's folder with its FIFOs.
func makeInstanceDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	for _, stream := range streams {
		fifo := filepath.Join(path, stream)
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			return &os.PathError{Op: "mkfifo", Path: fifo, Err: err}
		}
	}
	return nil
}
