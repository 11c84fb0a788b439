package pump

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill takes all the room that is left; the function it returns gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	hog := filepath.Join(dir, "hog")
	f, err := os.Create(hog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	return func() {
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
	}
}

// states keeps what a pump tells of itself.
type states struct {
	mu   sync.Mutex
	all  []State
	wake chan struct{}
}

func watchStates(p *Pump) *states {
	s := &states{wake: make(chan struct{}, 1)}
	p.OnState(func(now State) {
		s.mu.Lock()
		s.all = append(s.all, now)
		s.mu.Unlock()
		select {
		case s.wake <- struct{}{}:
		default:
		}
	})
	return s
}

func (s *states) last() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return State{}
	}
	return s.all[len(s.all)-1]
}

// until waits for a state.
func (s *states) until(t *testing.T, what string, ok func(State) bool) State {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		if now := s.last(); ok(now) {
			return now
		}
		select {
		case <-s.wake:
		case <-limit:
			t.Fatalf("not %s: %+v", what, s.last())
		}
	}
}

// numbered writes lines with these numbers.
func (s *stream) numbered(t *testing.T, from, to int) {
	t.Helper()
	var b bytes.Buffer
	for n := from; n < to; n++ {
		fmt.Fprintf(&b, "%08d %s\n", n, strings.Repeat("x", 90))
		if b.Len() > 32<<10 || n == to-1 {
			if _, err := s.app.Write(b.Bytes()); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
}

// found is what is on disk of a stream.
type found struct {
	numbers []int // of whole lines
	torn    []string
	missing int64 // bytes that the names of the files leave out
	end     int64
}

func look(t *testing.T, f Files) (got found) {
	t.Helper()
	starts, err := f.starts()
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range starts {
		data, err := os.ReadFile(f.Segment(start))
		if err != nil {
			t.Fatal(err)
		}
		got.missing += start - got.end
		got.end = start + int64(len(data))
		for line := range strings.Lines(string(data)) {
			n, err := strconv.Atoi(strings.SplitN(line, " ", 2)[0])
			if len(line) == 100 && err == nil {
				got.numbers = append(got.numbers, n)
			} else {
				got.torn = append(got.torn, line)
			}
		}
	}
	return got
}

func ascending(list []int) bool {
	for i := 1; i < len(list); i++ {
		if list[i] <= list[i-1] {
			return false
		}
	}
	return true
}

// On a full disk the app writes on, what is lost is counted to the byte, and when
// there is room again output goes on with a whole line.
func TestPump_DropsAndCountsOnADiskThatIsFull(t *testing.T) {
	for name, plain := range map[string]bool{"splice": false, "copy": true} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, "8m")
			s := newStream(t, dir)
			s.pump.plain = plain
			seen := watchStates(s.pump)
			free := fill(t, dir)
			s.run()
			s.numbered(t, 0, 50_000) // five times what the pipe holds
			full := seen.until(t, "dropping", func(s State) bool { return s.Bytes > 3<<20 })
			if full.Fault != unix.ENOSPC.Error() || full.Waits {
				t.Errorf("state is %+v", full)
			}
			free()
			seen.until(t, "writing", func(s State) bool { return s.Fault == "" })
			s.numbered(t, 50_000, 60_000)
			s.app.Close()
			<-s.done
			got, state := look(t, s.pump.files), seen.last()
			if got.end != 60_000*100 {
				t.Errorf("the stream ends at %d, want all that was written", got.end)
			}
			if got.missing != state.Bytes || state.Bytes == 0 {
				t.Errorf("%d bytes are missing on disk, %d were counted", got.missing, state.Bytes)
			}
			if lines := 60_000 - len(got.numbers); int(state.Lines) != lines {
				t.Errorf("%d lines are missing, %d were counted", lines, state.Lines)
			}
			if !ascending(got.numbers) || got.numbers[len(got.numbers)-1] != 59_999 {
				t.Errorf("lines are not in order, or the last is missing")
			}
			if len(got.torn) > 1 { // the one that was being written when the disk was full
				t.Errorf("%d torn lines: %.300q", len(got.torn), got.torn)
			}
		})
	}
}

// A disk that is full for less than the pipe holds costs nothing.
func TestPump_LosesNothingOnADiskThatIsFullForAMoment(t *testing.T) {
	dir := smallDisk(t, "1m")
	s := newStream(t, dir)
	seen := watchStates(s.pump)
	free := fill(t, dir)
	s.run()
	s.numbered(t, 0, 100)
	seen.until(t, "at fault", func(s State) bool { return s.Fault != "" })
	free()
	s.app.Close()
	<-s.done
	if got := look(t, s.pump.files); len(got.numbers) != 100 || got.missing != 0 || len(got.torn) != 0 || seen.last() != (State{}) {
		t.Errorf("%d lines, %d bytes missing, state %+v", len(got.numbers), got.missing, seen.last())
	}
}

// A pump that comes after one that was killed while it dropped goes on where that
// one was.
func TestPump_TheNextKnowsWhatWasDropped(t *testing.T) {
	dir := smallDisk(t, "8m")
	s := newStream(t, dir)
	seen := watchStates(s.pump)
	s.run()
	s.numbered(t, 0, 1000)
	free := fill(t, dir)
	s.numbered(t, 1000, 20_000)
	seen.until(t, "dropping", func(s State) bool { return s.Bytes > 1<<20 })
	s.pump.Leave()
	<-s.done
	free()

	next, err := Open(newPoller(t), s.fifo, s.pump.files, s.pump.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Resume(); err != nil {
		t.Fatal(err)
	}
	s.pump, s.done = next, make(chan struct{})
	s.run()
	s.numbered(t, 20_000, 21_000)
	s.app.Close()
	<-s.done
	got := look(t, next.files)
	if got.end != 21_000*100 || got.missing == 0 {
		t.Errorf("the stream ends at %d, %d bytes are missing", got.end, got.missing)
	}
	if !ascending(got.numbers) || got.numbers[len(got.numbers)-1] != 20_999 || len(got.torn) > 1 {
		t.Errorf("%d lines, torn %.300q", len(got.numbers), got.torn)
	}
}

// What an ended instance has left is dropped, and counted, where no disk takes it.
func TestPump_GivesUpTheOutputOfAnEndedInstance(t *testing.T) {
	dir := smallDisk(t, "64k")
	s := newStream(t, dir)
	seen := watchStates(s.pump)
	free := fill(t, dir)
	defer free()
	s.run()
	s.numbered(t, 0, 100)
	s.pump.Finish()
	<-s.done
	if got, state := look(t, s.pump.files), seen.last(); state != (State{Bytes: 10_000, Lines: 100}) || got.missing != 10_000 {
		t.Errorf("state is %+v, %d bytes are missing on disk", state, got.missing)
	}
}

// A segment that may not be begun has the output wait, until it may, or the stream
// ends.
func TestPump_WaitsForASegmentThatMayNotBeBegun(t *testing.T) {
	const size = 4 << 10
	newFull := func(t *testing.T) (*stream, *states, func(string)) {
		s := newStream(t, t.TempDir())
		seen := watchStates(s.pump)
		s.pump.SetLimits(size, true)
		var mu sync.Mutex
		why := ""
		s.pump.OnFull(func() string { mu.Lock(); defer mu.Unlock(); return why })
		set := func(text string) { mu.Lock(); defer mu.Unlock(); why = text }
		s.run()
		s.numbered(t, 0, size/100+1)
		set("enough")
		s.numbered(t, size/100+1, 2000)
		now := seen.until(t, "waiting", func(s State) bool { return s.Waits })
		if now.Fault != "enough" || now.Bytes != 0 {
			t.Errorf("state is %+v", now)
		}
		return s, seen, set
	}
	all := func(t *testing.T, s *stream, seen *states) {
		t.Helper()
		<-s.done
		if got := look(t, s.pump.files); len(got.numbers) != 2000 && len(got.torn) == 0 || got.end != 200_000 || got.missing != 0 {
			t.Errorf("%d lines, %d bytes, %d missing", len(got.numbers), got.end, got.missing)
		}
		if seen.last() != (State{}) {
			t.Errorf("state is %+v", seen.last())
		}
	}
	t.Run("until it may", func(t *testing.T) {
		s, seen, set := newFull(t)
		if got := look(t, s.pump.files); got.end > 3*size {
			t.Errorf("%d bytes are there", got.end)
		}
		set("")
		s.app.Close()
		all(t, s, seen)
	})
	t.Run("or its instance has ended", func(t *testing.T) {
		s, seen, _ := newFull(t)
		s.pump.Finish()
		all(t, s, seen)
	})
	t.Run("but for one more when it is to end", func(t *testing.T) {
		s, seen, _ := newFull(t)
		before := look(t, s.pump.files).end
		s.pump.Unblock()
		for look(t, s.pump.files).end == before { // it moves within milliseconds
			<-time.After(time.Millisecond)
		}
		seen.until(t, "waiting again", func(s State) bool { return s.Waits })
		if got := look(t, s.pump.files).end; got > before+size {
			t.Errorf("%d bytes more are there, want a segment", got-before)
		}
		s.pump.Leave()
		<-s.done
	})
}

// What was dropped of a line whose end is still to come is missing on disk, too: no
// later pump, and no reader, would know of it else.
func TestPump_WhatIsDroppedOfAnUnfinishedLineIsMissingOnDisk(t *testing.T) {
	s := newStream(t, t.TempDir())
	defer s.pump.Close()
	if _, err := s.app.WriteString("the middle of a line"); err != nil {
		t.Fatal(err)
	}
	s.pump.broken, s.pump.torn = true, true
	if _, err := s.pump.move(); !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("move = %v", err)
	}
	if got := look(t, s.pump.files); got.missing != 20 {
		t.Errorf("%d bytes are missing on disk, want 20", got.missing)
	}
	if _, err := s.app.WriteString(" and its end\nwhole\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pump.move(); err != nil {
		t.Fatal(err)
	}
	if got := look(t, s.pump.files); got.missing != 33 || len(got.torn) != 1 || got.torn[0] != "whole\n" {
		t.Errorf("%d bytes are missing on disk, want 33, and there is %q", got.missing, got.torn)
	}
}

// A pump that leaves has nothing of its own that the next could not find: what it
// has read and could not write is missing, and said to be.
func TestPump_WhatALeavingOneHasReadIsMissingOnDisk(t *testing.T) {
	s := newStream(t, t.TempDir())
	defer s.pump.Close()
	s.pump.plain, s.pump.left = true, []byte("read\n")
	s.pump.Leave()
	if s.pump.outlast(unix.ENOSPC) {
		t.Error("it goes on")
	}
	if got := look(t, s.pump.files); got.missing != 5 || s.pump.dropped != (State{Bytes: 5, Lines: 1}) {
		t.Errorf("%d bytes are missing on disk, want 5; %+v", got.missing, s.pump.dropped)
	}
}
