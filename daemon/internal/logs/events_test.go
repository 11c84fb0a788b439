package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func openEvents(t testing.TB, dir string) *Events {
	t.Helper()
	e, err := OpenEvents(EventsConfig{Dir: dir, Token: func(string) (string, bool) { return token, true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func record1(e *Events, name, message string) {
	e.Record(app.Event{ID: app.EventInstanceReady, App: name, Instance: "i1", Severity: app.Info, Message: message})
}

func readEvents(t testing.TB, e *Events, q EventQuery) (all []app.Event) {
	t.Helper()
	err := e.ReadEvents(t.Context(), q, into(func(ev EventEntry) error { all = append(all, ev.Event); return nil }))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func messages(all []app.Event) string {
	var list []string
	for _, e := range all {
		list = append(list, e.Message)
	}
	return strings.Join(list, " ")
}

func TestEvents_KeepEverythingOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	want := app.Event{
		ID: app.EventStartFailed, Time: time.Now().UTC().Round(0), App: "web", Instance: "i1", Actor: "uid 0",
		Severity: app.Error, Message: "line 1\nline 2", Attributes: map[string]string{"step": "port"},
	}
	openEvents(t, dir).Record(want)
	all := readEvents(t, openEvents(t, dir), EventQuery{})
	if len(all) != 1 || all[0].Cursor == "" {
		t.Fatalf("%+v", all)
	}
	all[0].Cursor = ""
	if fmt.Sprint(all[0]) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
}

func TestEvents_HideTheToken(t *testing.T) {
	dir := t.TempDir()
	e := openEvents(t, dir)
	e.Record(app.Event{ID: app.EventStartFailed, Instance: "i1", Message: "a " + token, Attributes: map[string]string{"output": token}})
	all := readEvents(t, e, EventQuery{})
	if all[0].Actor != "roostd" {
		t.Errorf("what nobody asked for was done by %q", all[0].Actor)
	}
	if all[0].Message != "a ***" || all[0].Attributes["output"] != app.Redacted {
		t.Errorf("%+v", all[0])
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "events.0")); strings.Contains(string(b), token) {
		t.Error("the token is on disk")
	}
}

func TestEvents_Select(t *testing.T) {
	e := openEvents(t, t.TempDir())
	for i := range 6 {
		record1(e, []string{"web", "api"}[i%2], fmt.Sprint(i))
	}
	for name, tt := range map[string]struct {
		q    EventQuery
		want string
	}{
		"all":           {EventQuery{}, "0 1 2 3 4 5"},
		"app":           {EventQuery{App: "api"}, "1 3 5"},
		"tail":          {EventQuery{Tail: new(2)}, "4 5"},
		"tail 0":        {EventQuery{Tail: new(0)}, ""},
		"long tail":     {EventQuery{Tail: new(100)}, "0 1 2 3 4 5"},
		"tail of app":   {EventQuery{App: "web", Tail: new(2)}, "2 4"},
		"since":         {EventQuery{Since: readEvents(t, e, EventQuery{})[3].Time}, "3 4 5"},
		"since forever": {EventQuery{Since: time.Now().Add(time.Hour)}, ""},
	} {
		if got := messages(readEvents(t, e, tt.q)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestEvents_CursorGivesTheRest(t *testing.T) {
	dir := t.TempDir()
	e := openEvents(t, dir)
	e.full = 300 // two or three events
	for i := range 4 {
		record1(e, "web", fmt.Sprint(i))
	}
	all := readEvents(t, e, EventQuery{})
	for i, ev := range all {
		got := readEvents(t, openEvents(t, dir), EventQuery{Cursor: ev.Cursor})
		if messages(got) != messages(all[i+1:]) {
			t.Errorf("behind %d: %q", i, messages(got))
		}
	}
}

func TestEvents_OldOnesGo(t *testing.T) {
	dir := t.TempDir()
	e := openEvents(t, dir)
	e.full = 1000
	var first app.Event
	for i := range 100 {
		record1(e, "web", fmt.Sprint(i))
		if i == 0 {
			first = readEvents(t, e, EventQuery{})[0]
		}
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(segments) != eventSegments {
		t.Errorf("segments %q", segments)
	}
	all := readEvents(t, e, EventQuery{})
	if n := len(all); n < 8 || n > 20 || all[n-1].Message != "99" {
		t.Errorf("%d events left, the last %q", n, all[n-1].Message)
	}
	if got := messages(readEvents(t, e, EventQuery{Tail: new(1000)})); got != messages(all) {
		t.Errorf("tail: %q", got)
	}
	// A cursor whose events are gone goes on behind them, and says how many they are.
	var list []EventEntry
	collect := into(func(ev EventEntry) error { list = append(list, ev); return nil })
	for _, lossless := range []bool{false, true} { // who resumes is told, not refused
		list = nil
		err = e.ReadEvents(t.Context(), EventQuery{Cursor: first.Cursor, Lossless: lossless}, collect)
		if err != nil || len(list) != 1+len(all) || !list[0].Gap || list[0].Missed != 99-len(all) {
			t.Errorf("a cursor whose events are gone: %v, %d steps, the first %+v", err, len(list), list[0])
		}
	}
	// Who goes on from the gap's own cursor is not told again.
	if got := readEvents(t, e, EventQuery{Cursor: list[0].Cursor}); messages(got) != messages(all) {
		t.Errorf("behind the gap: %q", messages(got))
	}
}

// The numbers that gaps are counted by go on after a restart.
func TestEvents_NumbersOutliveTheDaemon(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		e := openEvents(t, dir)
		record1(e, "web", "x")
	}
	appendTo(t, filepath.Join(dir, "events.0"), []byte("\x00\x00\nrubbish\n"))
	e := openEvents(t, dir)
	record1(e, "web", "x")
	if e.seq != 4 {
		t.Errorf("the fourth event has number %d", e.seq)
	}
}

func TestEvents_CursorOfAnotherLogIsGone(t *testing.T) {
	one, two := openEvents(t, t.TempDir()), openEvents(t, t.TempDir())
	for range 3 {
		record1(one, "web", "x")
		record1(two, "web", "x")
	}
	cursor := readEvents(t, one, EventQuery{})[1].Cursor
	err := two.ReadEvents(t.Context(), EventQuery{Cursor: cursor}, Sink[EventEntry]{})
	if app.KindOf(err) != app.OutOfRange {
		t.Errorf("got %v", err)
	}
	for _, c := range []string{"x", "AAAA", "AQ", "?"} {
		err := one.ReadEvents(t.Context(), EventQuery{Cursor: c}, Sink[EventEntry]{})
		if app.KindOf(err) != app.Invalid {
			t.Errorf("cursor %q: %v", c, err)
		}
	}
}

func TestEvents_ATornOneIsDropped(t *testing.T) {
	dir := t.TempDir()
	record1(openEvents(t, dir), "web", "whole")
	path := filepath.Join(dir, "events.0")
	appendTo(t, path, []byte("\x00\x00\x00\n{\"id\":\"Instance"))
	e := openEvents(t, dir)
	record1(e, "web", "next")
	if got := messages(readEvents(t, e, EventQuery{})); got != "whole next" {
		t.Errorf("got %q", got)
	}
}

func TestEvents_LongMessagesAreCut(t *testing.T) {
	e := openEvents(t, t.TempDir())
	record1(e, "web", strings.Repeat("é", 20<<10))
	if got := readEvents(t, e, EventQuery{Tail: new(1)}); len(got) != 1 || len(got[0].Message) > longestMessage+10 {
		t.Errorf("%d events", len(got))
	}
}

func TestEvents_Follow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := openEvents(t, dir)
		e.full = 500
		record1(e, "web", "0")
		var got []string
		caught := 0
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		done := make(chan error)
		go func() {
			done <- e.ReadEvents(ctx, EventQuery{Follow: true},
				Sink[EventEntry]{
					Emit:     func(ev EventEntry) error { got = append(got, ev.Message); return nil },
					CaughtUp: func(string) error { caught = len(got); return nil },
				})
		}()
		synctest.Wait()
		if caught != 1 {
			t.Errorf("caught up after %d events, want 1", caught)
		}
		want := []string{"0"}
		for i := 1; i < 20; i++ {
			record1(e, "web", fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
			if i%3 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestEvents_ASlowReaderIsToldWhatItMissed(t *testing.T) {
	e := openEvents(t, t.TempDir())
	e.full = 1000
	for i := range 3 {
		record1(e, "web", fmt.Sprint(i))
	}
	var got []EventEntry
	r := &eventReader{log: e, files: e.reader(), to: into(func(ev EventEntry) error { got = append(got, ev); return nil })}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	end, _ := e.state()
	if err := r.readTo(t.Context(), end); err != nil || len(got) != 3 {
		t.Fatal(err, got)
	}
	got = nil
	for range 100 {
		record1(e, "web", "more")
	}
	end, _ = e.state()
	if err := r.readTo(t.Context(), end); err != nil {
		t.Error(err)
	}
	left := readEvents(t, e, EventQuery{})
	if len(got) != 1+len(left) || !got[0].Gap || got[0].Missed != 100-len(left) {
		t.Errorf("%d steps, the first %+v, want that %d are missing", len(got), got[0], 100-len(left))
	}
}

func TestEvents_ASlowReaderThatIsToMissNothingIsEnded(t *testing.T) {
	e := openEvents(t, t.TempDir())
	e.full = 1000
	record1(e, "web", "0")
	seen := 0
	err := e.ReadEvents(t.Context(), EventQuery{Follow: true, Lossless: true}, into(func(ev EventEntry) error {
		if seen++; seen == 1 {
			for range 100 {
				record1(e, "web", "more")
			}
		}
		return nil
	}))
	f, ok := errors.AsType[*app.Fault](err)
	if !ok || f.Kind != app.Exhausted || seen != 1 {
		t.Fatalf("got %v after %d events", err, seen)
	}
	var list []EventEntry
	err = e.ReadEvents(t.Context(), EventQuery{Cursor: f.Cursor}, into(func(ev EventEntry) error { list = append(list, ev); return nil }))
	if err != nil || !list[0].Gap || list[0].Missed+len(list)-1 != 100 {
		t.Errorf("%v: going on begins with %+v of %d steps", err, list[0], len(list))
	}
}

func TestEvents_WhatADiskDidNotTakeIsTold(t *testing.T) {
	e := openEvents(t, t.TempDir())
	record1(e, "web", "before")
	good := e.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = full.Close() }()
	e.file = full
	record1(e, "web", "lost")
	record1(e, "web", "lost")
	e.file = good
	record1(e, "web", "after")

	steps := func(q EventQuery) (all []EventEntry, err error) {
		err = e.ReadEvents(t.Context(), q, into(func(ev EventEntry) error { all = append(all, ev); return nil }))
		return all, err
	}
	all, err := steps(EventQuery{})
	if err != nil || len(all) != 3 || !all[1].Gap || all[1].Missed != 2 || all[2].Message != "after" {
		t.Errorf("%v: got %+v", err, all)
	}
	all, err = steps(EventQuery{Lossless: true})
	f, ok := errors.AsType[*app.Fault](err)
	if !ok || f.Kind != app.Exhausted || len(all) != 1 {
		t.Fatalf("got %v after %+v", err, all)
	}
	all, err = steps(EventQuery{Lossless: true, Cursor: f.Cursor})
	if err != nil || len(all) != 2 || !all[0].Gap || all[0].Missed != 2 || all[1].Message != "after" {
		t.Errorf("%v: going on gives %+v", err, all)
	}
	all, err = steps(EventQuery{Lossless: true, Cursor: all[0].Cursor})
	if err != nil || len(all) != 1 || all[0].Message != "after" {
		t.Errorf("%v: going on behind the gap gives %+v", err, all)
	}
}

func TestEvents_SelectByMore(t *testing.T) {
	e := openEvents(t, t.TempDir())
	for i := range 4 {
		e.Record(app.Event{
			ID: app.EventInstanceReady, App: "web", Instance: app.InstanceID(fmt.Sprintf("i%d", i%2)),
			Severity: []app.Severity{app.Info, app.Warning, app.Error}[i%3], Message: fmt.Sprint("number ", i),
		})
	}
	until := readEvents(t, e, EventQuery{})[2].Time
	for name, tt := range map[string]struct {
		q    EventQuery
		want string
	}{
		"instance":      {EventQuery{Instance: "i1"}, "1 3"},
		"severity":      {EventQuery{Severity: app.Warning}, "1 2"},
		"grep":          {EventQuery{Grep: "r [03]$"}, "0 3"},
		"tail of grep":  {EventQuery{Grep: "r [03]$", Tail: new(1)}, "3"},
		"until":         {EventQuery{Until: until}, "0 1"},
		"tail of until": {EventQuery{Until: until, Tail: new(1)}, "1"},
		"and followed":  {EventQuery{Until: until, Follow: true}, "0 1"},
	} {
		if got := strings.ReplaceAll(messages(readEvents(t, e, tt.q)), "number ", ""); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	err := e.ReadEvents(t.Context(), EventQuery{Grep: "("}, Sink[EventEntry]{})
	if f, ok := errors.AsType[*app.Fault](err); !ok || f.Kind != app.Invalid || len(f.Violations) != 1 || f.Violations[0].Field != "grep" {
		t.Errorf("a regular expression that is none: %v", err)
	}
}

func FuzzEventCursor(f *testing.F) {
	f.Add("AgAAAAABAgAAAAA")
	f.Fuzz(func(t *testing.T, c string) {
		if _, m, err := parseEventCursor(c); err == nil && m.pos < 0 {
			t.Errorf("%q leads to %d", c, m.pos)
		}
	})
}

func TestRecorder_IsWhatTheSupervisorNeeds(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "hello\n")
	var r interface {
		Record(e app.Event)
		OutputTail(name string, id app.InstanceID, most int) string
	} = Recorder{d.store(), openEvents(t, t.TempDir())}
	r.Record(app.Event{ID: app.EventDaemonStarted})
	if got := r.OutputTail("web", "i1", 100); got != "hello\n" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkEvents_Record(b *testing.B) {
	e := openEvents(b, b.TempDir())
	for b.Loop() {
		record1(e, "web", "instance i1 is ready at 127.0.0.1:20001")
	}
}

func BenchmarkRead_History(b *testing.B) {
	d := newDisk(b.TempDir())
	line := strings.Repeat("x", 99) + "\n"
	for range 100 {
		d.write(b, "i1", Stdout, strings.Repeat(line, 1000))
	}
	s := d.store()
	b.SetBytes(100 * 1000 * 100)
	for b.Loop() {
		err := s.Read(b.Context(), Query{App: "web"}, into(func([]Entry) error { return nil }))
		if err != nil {
			b.Fatal(err)
		}
	}
}
