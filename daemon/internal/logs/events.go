package logs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	// eventSegment is when a segment of the event log is full. The newest two are
	// kept.
	eventSegment  = 8 << 20
	eventSegments = 2
	// longestMessage bounds an event's message, which may quote an app's output.
	longestMessage = 16 << 10
	// self is the actor of what the daemon did unasked.
	self = "roostd"
)

// Events is what happened, on disk: JSON, one event a line, in segments named by
// the offset of their first byte.
//
// An event is in the kernel's hands when Record returns, so it survives the
// daemon's death, and not synced, as a start does not wait for a disk.
type Events struct {
	token func(instance string) (string, bool)
	log   hclog.Logger
	files files
	full  int64  // eventSegment
	ofTag uint32 // what its cursors are told from those of other logs by

	// mu is held over one write, as that is what puts events in order.
	mu      sync.Mutex
	file    *os.File
	start   int64         // of file
	end     int64         // behind the newest event
	seq     uint64        // the newest event's number
	changed chan struct{} // closed by the next event
}

// EventsConfig is what an event log needs.
type EventsConfig struct {
	Dir string // <state-dir>/events
	// Token returns the pairing token of an instance, as in Config.
	Token func(instance string) (token string, ok bool)
	State uint64 // as in Config
	Log   hclog.Logger
}

// OpenEvents opens the event log, and makes it where there is none. What was
// written last and not to its end is dropped.
func OpenEvents(cfg EventsConfig) (*Events, error) {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Token == nil {
		cfg.Token = func(string) (string, bool) { return "", false }
	}
	e := &Events{
		token: cfg.Token, log: cfg.Log, full: eventSegment,
		files: files{dir: cfg.Dir, name: "events"}, changed: make(chan struct{}),
		ofTag: crc32.ChecksumIEEE(binary.BigEndian.AppendUint64([]byte("events "), cfg.State)),
	}
	if err := e.open(); err != nil {
		return nil, fmt.Errorf("open the event log in %s: %w", cfg.Dir, err)
	}
	return e, nil
}

func (e *Events) open() error {
	if err := os.MkdirAll(e.files.dir, 0o700); err != nil {
		return err
	}
	if err := e.files.list(); err != nil {
		return err
	}
	if n := len(e.files.starts); n > 0 {
		e.start = e.files.starts[n-1]
	}
	file, err := openSegment(e.files.path(e.start))
	if err != nil {
		return err
	}
	size, err := repair(file)
	if err != nil {
		_ = file.Close()
		return err
	}
	e.file, e.end = file, e.start+size
	e.seq, err = e.lastSeq()
	return err
}

// lastSeq finds the newest event's number: 0 where there is none. A crash of the
// machine may have left lines behind it that are no events.
func (e *Events) lastSeq() (uint64, error) {
	r := &eventReader{files: e.reader()}
	if err := r.files.list(); err != nil {
		return 0, err
	}
	const most = 100
	pos := e.end
	for range most {
		line, ok, err := r.lineBefore(pos)
		if err != nil || !ok {
			return 0, err
		}
		if _, seq, ok := parseEvent(line); ok {
			return seq, nil
		}
		pos -= int64(len(line)) + 1
	}
	return 0, nil
}

func openSegment(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
}

// repair cuts off what has no line end, and returns what is left.
func repair(f *os.File) (size int64, err error) {
	b, err := os.ReadFile(f.Name())
	if err != nil {
		return 0, err
	}
	size = int64(bytes.LastIndexByte(b, '\n') + 1)
	if size == int64(len(b)) {
		return size, nil
	}
	return size, f.Truncate(size)
}

// Close closes the event log; later events are lost.
func (e *Events) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.file.Close()
}

// record is how an event is stored. The time is last: it makes the end of each
// line unlike that of others, which cursors are checked by.
type record struct {
	Seq        uint64            `json:"seq,omitempty"` // counts events, so that it can be told how many are missing
	ID         app.EventID       `json:"id"`
	App        string            `json:"app,omitempty"`
	Instance   app.InstanceID    `json:"instance,omitempty"`
	Actor      string            `json:"actor,omitempty"`
	Severity   app.Severity      `json:"severity"`
	Message    string            `json:"message"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Time       time.Time         `json:"time"`
}

// Record appends an event; a zero time becomes now, and one without an actor is
// the daemon's own doing. It waits for no reader. What cannot be written is logged
// and lost; as its number is used up, readers are told of the gap.
func (e *Events) Record(ev app.Event) {
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	token, _ := e.token(string(ev.Instance))
	err := e.append(record{
		0, ev.ID, ev.App, ev.Instance, cmp.Or(ev.Actor, self), ev.Severity, shorten(app.Redact(ev.Message, token)),
		hideAttributes(token, ev.Attributes), ev.Time.UTC().Round(0),
	})
	if err != nil {
		e.log.Error("event lost", "id", ev.ID, "app", ev.App, "error", err)
	}
}

// append gives an event its number and writes it as one line, whole or not at all.
func (e *Events) append(rec record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	rec.Seq = e.seq
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if e.end-e.start >= e.full {
		if err := e.rotate(); err != nil {
			return err
		}
	}
	if _, err := e.file.Write(line); err != nil {
		_ = e.file.Truncate(e.end - e.start)
		return err
	}
	e.end += int64(len(line))
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}

// rotate begins a segment and deletes the oldest. mu is held.
func (e *Events) rotate() error {
	file, err := openSegment(e.files.path(e.end))
	if err != nil {
		return err
	}
	_ = e.file.Close()
	e.file, e.start = file, e.end
	all := e.files
	all.starts = nil
	if err := all.list(); err != nil {
		return err
	}
	for len(all.starts) > eventSegments {
		if err := os.Remove(all.path(all.starts[0])); err != nil {
			return err
		}
		all.starts = all.starts[1:]
	}
	return nil
}

// state is where the log ends, and what tells that it has grown.
func (e *Events) state() (end int64, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.end, e.changed
}

// reader returns the segments for one reader's use.
func (e *Events) reader() files {
	return files{dir: filepath.Clean(e.files.dir), name: e.files.name}
}

func shorten(s string) string {
	if len(s) <= longestMessage {
		return s
	}
	return strings.ToValidUTF8(s[:longestMessage], "") + " …"
}

func hideAttributes(token string, all map[string]string) map[string]string {
	if token == "" {
		return all
	}
	hidden := make(map[string]string, len(all))
	for k, v := range all {
		hidden[k] = app.Redact(v, token)
	}
	return hidden
}

// Recorder is a Store and an event log as one: what the supervisor records to,
// and what the API reads.
type Recorder struct {
	*Store
	*Events
}
