package logs

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/roostd/roost/daemon/internal/app"
)

// OutputTail returns the end of what an instance wrote, at most most bytes, both
// streams merged, the token redacted. It begins with a line where it can and is
// valid UTF-8. What cannot be read is left out.
func (s *Store) OutputTail(name string, id app.InstanceID, most int) string {
	if (Query{App: name, Instance: string(id)}).check() != nil || id == "" || most <= 0 {
		return ""
	}
	in := s.openInstance(name, string(id), Query{}.streams())
	room := int64(most)
	enough := func(*backward) bool { return room > 0 }
	if err := tail([]*instance{in}, enough, func(size int64) { room -= size }); err != nil {
		s.cfg.Log.Debug("output tail", "app", name, "instance", id, "error", err)
		return ""
	}
	var b strings.Builder
	var q queue
	for _, st := range in.streams {
		q.push(st)
	}
	for {
		st, ok := q.pop()
		if !ok {
			break
		}
		n, partial, err := st.ready()
		if n == 0 {
			n, partial = len(st.buf), true
		}
		if n == 0 || err != nil {
			continue
		}
		b.Write(st.take(n, partial, true).Data)
		q.push(st)
	}
	return trimFront(strings.ToValidUTF8(b.String(), string(utf8.RuneError)), most)
}

// trimFront leaves the last most bytes of text, and of those the whole lines
// where that leaves any.
func trimFront(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := text[len(text)-most:]
	if text[len(text)-most-1] != '\n' {
		if i := strings.IndexByte(cut, '\n'); i >= 0 && i+1 < len(cut) {
			return cut[i+1:]
		}
	}
	for len(cut) > 0 && !utf8.RuneStart(cut[0]) {
		cut = cut[1:]
	}
	return cut
}

// Open returns the bytes of one stream of an instance, from its first on, as the
// app wrote them. Read never blocks: io.EOF says that nothing more is there yet,
// and later there may be.
func (s *Store) Open(name string, id app.InstanceID, stream string) io.ReadCloser {
	if err := (Query{App: name, Instance: string(id), Stream: stream}).check(); err != nil {
		return &raw{err: err}
	}
	return &raw{files: files{dir: s.instanceDir(name, string(id)), name: stream}}
}

type raw struct {
	files
	pos int64
	err error
}

func (r *raw) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	got, err := r.readAt(p, r.pos)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	r.pos = got.off + int64(got.n)
	if got.n == 0 {
		return 0, io.EOF
	}
	return got.n, nil
}

func (r *raw) Close() error { return nil }
