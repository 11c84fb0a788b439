package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// follower collects what a following Read gives.
type follower struct {
	t      *testing.T
	cancel context.CancelFunc
	caught chan struct{}
	done   chan error

	mu      sync.Mutex
	entries []Entry
	news    chan struct{}
}

func follow(t *testing.T, s *Store, q Query) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{t: t, cancel: cancel, caught: make(chan struct{}), done: make(chan error, 1), news: make(chan struct{}, 1)}
	q.App, q.Follow = "web", true
	go func() {
		f.done <- s.Read(ctx, q, Sink[[]Entry]{Emit: f.take, CaughtUp: func(string) error { close(f.caught); return nil }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-f.done; !errors.Is(err, context.Canceled) {
			t.Errorf("follow ended with %v", err)
		}
	})
	select {
	case <-f.caught:
	case <-time.After(10 * time.Second):
		t.Fatal("never caught up")
	}
	return f
}

func (f *follower) take(e []Entry) error {
	f.mu.Lock()
	f.entries = append(f.entries, e...)
	f.mu.Unlock()
	select {
	case f.news <- struct{}{}:
	default:
	}
	return nil
}

// want waits until the text of all that came is want.
func (f *follower) want(want string) {
	f.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		f.mu.Lock()
		got := text(f.entries)
		f.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-f.news:
		case <-deadline:
			f.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// running runs the store for the length of a test.
func running(t *testing.T, s *Store) *Store {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for s.watch.isRunning() == nil {
		time.Sleep(time.Millisecond)
	}
	return s
}

func TestFollow_HistoryThenWhatComes(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\n")
	f := follow(t, running(t, d.store()), Query{})
	f.want("one\n")
	d.write(t, "i1", Stderr, "two\n")
	f.want("one\ntwo\n")
	d.write(t, "i2", Stdout, "three\n") // a new instance
	f.want("one\ntwo\nthree\n")
	d.end("i1")
	d.write(t, "i2", Stdout, "four\n")
	d.writeSegment(t, "i2", Stdout, 11, "five\n")
	f.want("one\ntwo\nthree\nfour\nfive\n")
}

func TestFollow_InstancesThatEndedAreLetGo(t *testing.T) {
	d := newDisk(t.TempDir())
	s := running(t, d.store())
	f := follow(t, s, Query{})
	var want strings.Builder
	for i := range 30 {
		id := fmt.Sprintf("i%d", i)
		d.now = d.now.Add(time.Minute)
		d.write(t, id, Stdout, id+"\n")
		want.WriteString(id + "\n")
		f.want(want.String())
		d.end(id)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.entries[29].Cursor; len(c) > 100 {
		t.Errorf("the cursor has %d characters after 30 instances", len(c))
	}
}

func TestFollow_AnAppThatNeverStarted(t *testing.T) {
	d := newDisk(t.TempDir())
	f := follow(t, running(t, d.store()), Query{Tail: new(0)})
	d.write(t, "i1", Stdout, "one\n")
	f.want("one\n")
}

func TestFollow_WithoutRunItPolls(t *testing.T) {
	d := newDisk(t.TempDir())
	f := follow(t, d.store(), Query{})
	d.write(t, "i1", Stdout, "one\n")
	f.want("one\n")
}

func TestFollow_ALineWithoutEndComesAfterARest(t *testing.T) {
	d := newDisk(t.TempDir())
	s := d.store()
	s.quiet = 50 * time.Millisecond
	f := follow(t, running(t, s), Query{})
	d.write(t, "i1", Stdout, "prompt> "+token[:5])
	f.want("prompt> ") // what may become a token waits
	d.write(t, "i1", Stdout, token[5:])
	f.want("prompt> ***")
	d.write(t, "i1", Stdout, "\n")
	f.want("prompt> ***\n")
}

func TestFollow_ALineThatKeepsGrowingIsNotHeldBack(t *testing.T) {
	d := newDisk(t.TempDir())
	s := d.store()
	s.quiet = 300 * time.Millisecond
	f := follow(t, running(t, s), Query{})
	var written strings.Builder
	for come := false; !come; time.Sleep(5 * time.Millisecond) { // never as long as quiet
		if written.Len() > 2000 {
			t.Fatal("nothing came while the line grew")
		}
		d.now = time.Now()
		d.write(t, "i1", Stdout, ".")
		written.WriteByte('.')
		f.mu.Lock()
		come = len(f.entries) > 0
		f.mu.Unlock()
	}
	d.write(t, "i1", Stdout, "\n")
	f.want(written.String() + "\n")
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.entries[0].Partial || len(f.entries[0].Data) < 2 {
		t.Errorf("first came %q, partial %v", f.entries[0].Data, f.entries[0].Partial)
	}
}

func TestFollow_BytesWithoutAnIndexEntryWaitForIt(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "old\n")
	f := follow(t, running(t, d.store()), Query{})
	f.want("old\n")
	// The keeper is killed before it noted the batch.
	appendTo(t, filepath.Join(d.dir, "web", "i1", "stdout.0"), []byte("new\n"))
	f.want("old\nnew\n")
}

func TestFollow_ManyFollowersAndAFastWriter(t *testing.T) {
	d := newDisk(t.TempDir())
	s := running(t, d.store())
	var all []*follower
	for range 5 {
		all = append(all, follow(t, s, Query{}))
	}
	var want strings.Builder
	for i := range 2000 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%100))
		d.write(t, "i1", Stdout, line)
		want.WriteString(line)
	}
	for _, f := range all {
		f.want(want.String())
	}
}

func TestFollow_AReaderThatBlocksHoldsUpNobody(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\n")
	s := running(t, d.store())
	ctx, cancel := context.WithCancel(t.Context())
	stuck, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Read(ctx, Query{App: "web", Follow: true}, into(func([]Entry) error { <-stuck; return nil }))
	}()
	f := follow(t, s, Query{})
	d.write(t, "i1", Stdout, "two\n")
	f.want("one\ntwo\n")
	cancel()
	close(stuck)
	<-done
}

func TestFollow_AFolderThatGoesIsNoError(t *testing.T) {
	d := newDisk(t.TempDir())
	d.write(t, "i1", Stdout, "one\n")
	f := follow(t, running(t, d.store()), Query{})
	f.want("one\n")
	if err := os.RemoveAll(filepath.Join(d.dir, "web", "i1")); err != nil {
		t.Fatal(err)
	}
	d.write(t, "i2", Stdout, "two\n")
	f.want("one\ntwo\n")
}

// Whatever is deleted below a follower, it repeats nothing, and comes to the end.
func TestFollow_AcrossDeletions(t *testing.T) {
	d := newDisk(t.TempDir())
	f := follow(t, running(t, d.store()), Query{})
	const segments, lines, kept = 200, 3, 2
	start := int64(0)
	var starts []int64
	for n := range segments {
		starts = append(starts, start)
		for i := range lines {
			d.writeSegment(t, "i1", Stdout, start, fmt.Sprintf("%07d\n", n*lines+i))
		}
		start += lines * 8
		if n >= kept {
			path := filepath.Join(d.dir, "web", "i1", fmt.Sprintf("stdout.%d", starts[n-kept]))
			_, _ = os.Remove(path), os.Remove(path+".idx")
		}
	}
	last := fmt.Sprintf("%07d\n", segments*lines-1)
	deadline := time.After(20 * time.Second)
	for got := ""; !strings.HasSuffix(got, last); {
		select {
		case <-f.news:
		case <-deadline:
			t.Fatalf("it hangs behind %q", got[max(0, len(got)-8):])
		}
		f.mu.Lock()
		got = text(f.entries)
		f.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before := ""
	for _, line := range strings.SplitAfter(strings.TrimSuffix(text(f.entries), "\n"), "\n") {
		if line <= before || len(strings.TrimSpace(line)) != 7 {
			t.Fatalf("%q follows %q", line, before)
		}
		before = line
	}
}
