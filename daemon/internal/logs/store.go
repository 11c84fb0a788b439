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
// segments, see logs.max_files: a reader goes on behind what is gone, and a cursor
// that leads there is told so by app.OutOfRange. Of events the newest 8 to 16 MiB are
// kept, and a reader that these overtake is told the same way.
package logs

import (
	"context"
	"fmt"
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
	Log  hclog.Logger
}

// Store reads the output of instances.
type Store struct {
	cfg   Config
	watch *notifier
	quiet time.Duration // how long a follower waits for a line's end
}

// partialQuiet is how long a follower waits for a line's end, from its first byte
// on, before it gets what is there.
const partialQuiet = time.Second

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
	cfg.Dir = filepath.Clean(cfg.Dir)
	return &Store{cfg: cfg, watch: newNotifier(cfg.Log), quiet: partialQuiet}
}

// Run watches the files for all followers, until ctx ends.
func (s *Store) Run(ctx context.Context) error { return s.watch.run(ctx) }

// Entry is a line of an instance's output, or a part of one.
type Entry struct {
	Time     time.Time // when the batch came that its first byte is of
	App      string
	Instance string
	Stream   string
	Data     []byte // line end included, the token excepted
	Missed   int64  // bytes of the stream before Data that were deleted before they were read
	Partial  bool   // the line has no end yet, or is continued by the next entry
	Cursor   string // reading on from it gives what follows this entry
}

// Query selects output.
type Query struct {
	App      string
	Instance string    // "" is every instance of the app
	Stream   string    // "" is both
	Tail     *int      // start so many lines before the end
	Since    time.Time // leave out what was written before
	Cursor   string    // start behind the entry it is of
	Follow   bool      // go on with what comes, new instances included
}

// Read gives the selected output to emit, oldest first: the streams merged by
// the time of their batches, the beginning of a line that has no end yet
// included. With Follow it calls caughtUp once, where history
// ends, and goes on until ctx ends or a callback fails; it returns what ended
// it. The error is a *app.Fault for what is wrong with the query.
func (s *Store) Read(ctx context.Context, q Query, emit func([]Entry) error, caughtUp func() error) error {
	r, err := s.newReader(q, emit)
	if err != nil {
		return err
	}
	defer r.close()
	return r.run(ctx, caughtUp)
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

func faultCursor(name, why string) error {
	return app.Errorf(app.OutOfRange, app.ReasonCursorGone, name,
		"%s: read without a cursor, or from a time on", fmt.Sprintf("the cursor of app %s leads to output that is gone (%s)", name, why))
}
