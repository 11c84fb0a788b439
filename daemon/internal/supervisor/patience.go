package supervisor

import (
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/roostd/roost/daemon/internal/app"
)

// folderPatience is how long a file system may take to answer. One whose mount is
// dead never does, and whoever asks it stays in the kernel: so another goroutine
// does, and nobody asks the same again before that has come back.
const folderPatience = time.Second

// questions are those to file systems that nobody waits for any more, and that have
// no answer yet.
type questions struct {
	mu   sync.Mutex
	open map[string]int
}

// isOpen tells whether a question was given up and is still open.
func (q *questions) isOpen(what string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open[what] > 0
}

// answered returns what f does, and false where that takes too long, or has taken too
// long before and is not done yet. What comes later is dropped. what names the question.
func answered[T any](q *questions, what string, f func() T) (T, bool) {
	var none T
	if q.isOpen(what) {
		return none, false
	}
	answer := make(chan T, 1)
	done, left := false, false // q.mu
	go func() {
		v := f()
		q.mu.Lock()
		done = true
		if left {
			if q.open[what]--; q.open[what] == 0 {
				delete(q.open, what)
			}
		}
		q.mu.Unlock()
		answer <- v
	}()
	t := time.NewTimer(folderPatience)
	defer t.Stop()
	select {
	case v := <-answer:
		return v, true
	case <-t.C:
	}
	q.mu.Lock()
	if left = !done; left {
		q.open[what]++
	}
	q.mu.Unlock()
	if left {
		return none, false
	}
	return <-answer, true
}

// lookAt is the page that takes an app in a folder out of service. Of a folder that
// does not answer it comes by the watcher's changes, once it does.
func (s *Supervisor) lookAt(dir string) *app.OfflinePage {
	page, ok := answered(&s.questions, "look "+dir, func() *app.OfflinePage { return s.cfg.Watcher.Look(dir) })
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
	r, ok := answered(&s.questions, "resolve "+dir, func() result {
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
	what := fmt.Sprintf("check %q", append([]string{spec.Dir, spec.Command[0]}, spec.EnvFiles...))
	r, ok := answered(&s.questions, what, func() result {
		faults, warnings := s.cfg.Launcher.Check(spec)
		return result{faults, warnings}
	})
	if !ok {
		return nil, []app.Violation{{Field: "command", Message: "it cannot be looked for: a file system does not answer"}}
	}
	return r.faults, r.warnings
}
