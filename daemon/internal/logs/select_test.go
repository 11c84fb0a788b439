package logs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestRead_Until(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "a\nb")
	until := d.now.Add(1)
	d.write(t, "i1", Stdout, "c\nd\n")
	d.write(t, "i2", Stderr, "e\n")
	s := d.store()
	early := read(t, s, Query{Until: until})
	if steps(early) != "a\nbc\n" {
		t.Errorf("until: %q, want what began before", steps(early))
	}
	// Since and until divide it, and the cursor goes on where it ended.
	if got := steps(read(t, s, Query{Since: until})); got != "d\ne\n" {
		t.Errorf("since: %q", got)
	}
	if got := steps(read(t, s, Query{Cursor: early[1].Cursor})); got != "d\ne\n" {
		t.Errorf("behind it: %q", got)
	}
	if got := steps(read(t, s, Query{Until: until, Tail: new(1)})); got != "bc\n" {
		t.Errorf("its tail: %q", got)
	}
	if got := steps(read(t, s, Query{Until: until, Follow: true})); got != "a\nbc\n" {
		t.Errorf("followed: %q", got)
	}
	if got := steps(read(t, s, Query{Until: time.Now().Add(time.Hour)})); got != "a\nbc\nd\ne\n" {
		t.Errorf("until later: %q", got)
	}
}

func TestFollow_EndsWhenUntilHasPassed(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\n")
	s := running(t, d.store())
	until := time.Now().Add(300 * time.Millisecond)
	var got []Entry
	err := s.Read(t.Context(), Query{App: "web", Until: until, Follow: true}, Sink[[]Entry]{
		Emit: func(list []Entry) error { got = append(got, list...); return nil },
		CaughtUp: func(string) error {
			d.now = until.Add(-50 * time.Millisecond)
			d.write(t, "i1", Stdout, "two\n")
			d.now = until
			d.write(t, "i1", Stdout, "late\n")
			return nil
		},
	})
	if err != nil || steps(got) != "one\ntwo\n" || time.Now().Before(until) {
		t.Errorf("%v: %q", err, steps(got))
	}
}

func TestRead_Grep(t *testing.T) {
	d := newDisk(t.TempDir())
	for i := range 20 {
		d.write(t, "i1", []string{Stdout, Stderr}[i%2], fmt.Sprintf("GET /%d\r\n", i))
	}
	d.write(t, "i1", Stdout, "the token is "+token+"\nlast")
	s := d.store()
	for expr, want := range map[string]string{
		`/1\d$`:     "GET /10\r\nGET /11\r\nGET /12\r\nGET /13\r\nGET /14\r\nGET /15\r\nGET /16\r\nGET /17\r\nGET /18\r\nGET /19\r\n",
		`^GET /7$`:  "GET /7\r\n",
		`is \*\*\*`: "the token is ***\n", // what is shown is what is searched
		token[:9]:   "",
		`last`:      "last",
		`\n`:        "",
	} {
		if got := steps(read(t, s, Query{Grep: expr})); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
	if got := steps(read(t, s, Query{Grep: `/1\d$`, Tail: new(2)})); got != "GET /18\r\nGET /19\r\n" {
		t.Errorf("tail: %q", got)
	}
	err := s.Read(t.Context(), Query{App: "web", Grep: "("}, Sink[[]Entry]{})
	if f, ok := errors.AsType[*app.Fault](err); !ok || f.Kind != app.Invalid || len(f.Violations) != 1 || f.Violations[0].Field != "grep" {
		t.Errorf("a regular expression that is none: %v", err)
	}
}

// Who follows with a filter can go on from where reading has come, though nothing
// was let through.
func TestRead_GrepTellsHowFarItHasCome(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, strings.Repeat("noise\n", 1000))
	var passed string
	to := into(func([]Entry) error { return nil })
	to.Passed = func(cursor string) { passed = cursor }
	if err := d.store().Read(t.Context(), Query{App: "web", Grep: "signal"}, to); err != nil || passed == "" {
		t.Fatal(err, passed)
	}
	d.write(t, "i1", Stdout, "more\n")
	if got := steps(read(t, d.store(), Query{Cursor: passed})); got != "more\n" {
		t.Errorf("behind it: %q", got)
	}
}

func TestRead_Generation(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "old", Stdout, "one\n")
	d.write(t, "new", Stdout, "two\n")
	s := d.store()
	s.cfg.Generation = func(id string) int64 { return map[string]int64{"old": 1, "new": 2}[id] }
	for g, want := range map[int64]string{0: "one\ntwo\n", 1: "one\n", 2: "two\n", 3: ""} {
		if got := steps(read(t, s, Query{Generation: g})); got != want {
			t.Errorf("generation %d: %q, want %q", g, got, want)
		}
	}
	// A cursor of all goes on in one, without news of the others.
	all := read(t, s, Query{})
	if got := steps(read(t, s, Query{Generation: 2, Cursor: all[0].Cursor})); got != "two\n" {
		t.Errorf("with a cursor: %q", got)
	}
}

func TestFollow_AnInstanceWhoseGenerationIsLearntLate(t *testing.T) {
	d := newDisk(t.TempDir())
	s := d.store()
	known := make(chan struct{})
	s.cfg.Generation = func(string) int64 {
		select {
		case <-known:
			return 2
		default:
			return 0
		}
	}
	f := follow(t, running(t, s), Query{Generation: 2})
	d.write(t, "i1", Stdout, "one\n")
	close(known)
	f.want("one\n")
}

func TestFollow_OfARemovedAppEndsBehindItsLastWords(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\n")
	s := running(t, d.store())
	removed := make(chan struct{})
	var got []Entry
	err := s.Read(t.Context(), Query{App: "web", Follow: true, Removed: removed}, Sink[[]Entry]{
		Emit: func(list []Entry) error { got = append(got, list...); return nil },
		CaughtUp: func(string) error {
			close(removed)
			time.AfterFunc(100*time.Millisecond, func() {
				d.write(t, "i1", Stdout, "last words")
				d.end("i1")
			})
			return nil
		},
	})
	if f, ok := errors.AsType[*app.Fault](err); !ok || f.Kind != app.NotFound || steps(got) != "one\nlast words" {
		t.Errorf("%v behind %q", err, steps(got))
	}
}

func TestFollow_OfARemovedAppThatNeverRan(t *testing.T) {
	removed := make(chan struct{})
	close(removed)
	err := running(t, newDisk(t.TempDir()).store()).Read(t.Context(), Query{App: "web", Follow: true, Removed: removed},
		into(func([]Entry) error { return nil }))
	if app.KindOf(err) != app.NotFound {
		t.Error(err)
	}
}
