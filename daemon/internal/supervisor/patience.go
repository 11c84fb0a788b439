package supervisor

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/roostd/roost/daemon/internal/app"
)

// folderPatience is how long a file system may take to answer. One whose mount is
// dead never does, and whoever asks it stays in the kernel: the supervisor's
// goroutine, for which every write waits, has it asked by another.
const folderPatience = time.Second

// answered returns what f does, and false where that takes too long. What comes
// later is dropped.
func answered[T any](f func() T) (T, bool) {
	answer := make(chan T, 1)
	go func() { answer <- f() }()
	t := time.NewTimer(folderPatience)
	defer t.Stop()
	select {
	case v := <-answer:
		return v, true
	case <-t.C:
		var none T
		return none, false
	}
}

// lookAt is the page that takes an app in a folder out of service. Of a folder that
// does not answer it comes by the watcher's changes, once it does.
func (s *Supervisor) lookAt(dir string) *app.OfflinePage {
	page, ok := answered(func() *app.OfflinePage { return s.cfg.Watcher.Look(dir) })
	if !ok {
		s.cfg.Log.Warn("a folder does not answer", "dir", dir)
	}
	return page
}

// resolveDir returns dir with its links resolved.
func (s *Supervisor) resolveDir(dir string) (string, error) {
	type result struct {
		dir string
		err error
	}
	r, ok := answered(func() result {
		to, err := s.cfg.Launcher.ResolveDir(dir)
		return result{to, err}
	})
	if !ok {
		return "", fmt.Errorf("dir %s: its file system does not answer: see whether what it is mounted from is up", dir)
	}
	if r.err == nil && !utf8.ValidString(r.dir) {
		return "", fmt.Errorf("dir %s leads to %q, whose name is no UTF-8: rename it", dir, r.dir)
	}
	return r.dir, r.err
}

// checkOnHost returns what only this host can say against a valid spec.
func (s *Supervisor) checkOnHost(spec app.Spec) (faults, warnings []app.Violation) {
	type result struct{ faults, warnings []app.Violation }
	r, ok := answered(func() result {
		faults, warnings := s.cfg.Launcher.Check(spec)
		return result{faults, warnings}
	})
	if !ok {
		return nil, []app.Violation{{Field: "command", Message: "it cannot be looked for: a file system does not answer"}}
	}
	return r.faults, r.warnings
}
