// Package logs reads back what instances wrote, and keeps what happened to them.
//
// The keeper writes: <dir>/<app>/<instance>/<stream>.<offset of its first byte>
// is a segment, exactly the app's bytes, and beside it .idx says when which of
// them came. All the rest is made by the reader: lines, the order of the two
// streams, cursors, the redacted token.
//
// Readers pull from the files, at the pace that their client reads: a slow one
// holds up nobody, nothing is kept for it, and it misses nothing as long as what
// it has still to read is not deleted. Of output the keeper deletes the oldest
// segments, see logs.max_files, and of events the newest 8 to 16 MiB are kept. A
// reader that this overtakes, or whose cursor leads there, is told how much is gone
// and goes on behind it; one that wants to miss nothing is ended instead.
package logs

import (
	"context"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
)

// The streams of an instance.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Config is what a Store needs.
type Config struct {
	Dir string // --log-dir
	// Token returns the pairing token of an instance, "" for none; its text is shown
	// to nobody. Where it is not known, nothing that may be one is shown. It must
	// not block.
	Token func(instance string) (token string, ok bool)
	// Gone tells that no process of an instance is left, and therefore that it
	// writes no more. Without it every instance may. It must not block.
	Gone func(instance string) bool
	// Generation returns the generation that an instance is of, 0 where it is not
	// known, or not yet. It must not block.
	Generation func(instance string) int64
	// State is a number of this daemon's state and no other: cursors are good for the
	// state that they are of.
	State uint64
	Log   hclog.Logger
}

// Store reads the output of instances.
type Store struct {
	cfg   Config
	watch *notifier
	quiet time.Duration // how long a follower waits for a line's end
}

// partialQuiet is how long a follower waits for a line's end, from its first byte
// on, before it gets what is there: a prompt is to be seen within a second.
const partialQuiet = 500 * time.Millisecond

// New returns a Store. Run it, or followers poll.
func New(cfg Config) *Store {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Token == nil {
		cfg.Token = func(string) (string, bool) { return "", true }
	}
	if cfg.Gone == nil {
		cfg.Gone = func(string) bool { return false }
	}
	if cfg.Generation == nil {
		cfg.Generation = func(string) int64 { return 0 }
	}
	cfg.Dir = filepath.Clean(cfg.Dir)
	return &Store{cfg: cfg, watch: newNotifier(cfg.Log), quiet: partialQuiet}
}

// Run watches the files for all followers, until ctx ends.
func (s *Store) Run(ctx context.Context) error { return s.watch.run(ctx) }

// Entry is a line of an instance's output, or a part of one, or a gap in it.
type Entry struct {
	Time     time.Time // when the batch came that its first byte is of
	App      string
	Instance string
	Stream   string
	Data     []byte // line end included, the token excepted
	Partial  bool   // the line has no end yet, or is continued by the next entry
	Gap      bool   // no line: output is missing here that was deleted before it was read
	Missed   int64  // of a gap: its bytes, 0 where nothing is left that would tell
	Cursor   string // reading on from it gives what follows this entry
}

// Query selects output.
type Query struct {
	App        string
	Instance   string    // "" is every instance of the app
	Generation int64     // 0 is every generation
	Stream     string    // "" is both
	Tail       *int      // start so many lines before the end
	Since      time.Time // leave out what was written before
	Until      time.Time // leave out what was written then or later; zero is never
	Grep       string    // leave out entries whose text this regular expression does not match
	Cursor     string    // start behind the entry it is of
	Follow     bool      // go on with what comes, new instances included
	Lossless   bool      // end where a gap opens while this is read
	// Removed is closed when the app is removed: following then ends with what its
	// instances have written. Nil is never.
	Removed <-chan struct{}
}

// Sink takes what a reading gives. Its functions are called one at a time; an error
// of one ends the reading.
type Sink[T any] struct {
	Emit func(T) error
	// CaughtUp is called once where history ends and following begins.
	CaughtUp func(cursor string) error
	// Passed tells how far reading has come without anything to emit; it may be nil.
	Passed func(cursor string)
}

// Read gives the selected output to the sink, oldest first: the streams merged by
// the time of their batches, the beginning of a line that has no end yet
// included. With Follow it goes on until ctx ends, the sink fails, Until has passed,
// or the app is removed, and returns what ended it. The error is a *app.Fault for
// what is wrong with the query, and of kind Exhausted where Lossless ends it.
func (s *Store) Read(ctx context.Context, q Query, to Sink[[]Entry]) error {
	r, err := s.newReader(q, to)
	if err != nil {
		return err
	}
	defer r.close()
	return r.run(ctx)
}

// instanceDir is where an instance's segments lie.
func (s *Store) instanceDir(name, instance string) string {
	return filepath.Join(s.cfg.Dir, name, instance)
}

// check refuses what would lead out of the log folder, and unknown streams.
func (q Query) check() error {
	if !app.ValidName(q.App) {
		return app.Errorf(app.NotFound, app.ReasonAppNotFound, q.App, "app %q not found: it is no name of an app", q.App)
	}
	if q.Instance != "" && !validID(q.Instance) {
		return app.Errorf(app.NotFound, app.ReasonNotFound, q.App, "instance %q of app %s not found: it is no id of an instance", q.Instance, q.App)
	}
	switch q.Stream {
	case "", Stdout, Stderr:
		return nil
	}
	return app.Errorf(app.Invalid, app.ReasonInvalidArgument, q.App, "stream %q: use stdout or stderr", q.Stream)
}

// validID accepts what an id is made of: letters, digits and dashes.
func validID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// streams are those that the query wants.
func (q Query) streams() []string {
	if q.Stream != "" {
		return []string{q.Stream}
	}
	return []string{Stdout, Stderr}
}
