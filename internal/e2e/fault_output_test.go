package e2e

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// counter is a worker that writes numbered lines.
func (h *host) counter(name string, perSecond int) *roostv1.AppSpec {
	h.Helper()
	spec := h.spec(name, "-count", strconv.Itoa(perSecond))
	spec.Routes, spec.Listen = nil, &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}
	spec.Recycle.MinReady = durationpb.New(50 * time.Millisecond)
	return spec
}

// Lines written while the daemon and the keeper die again and again, and while
// they are dead, are there once, whole and in order.
func TestFault_OutputOutlivesWhoeverDies(t *testing.T) {
	f := fault(t, "3", "1000 numbered lines/s an app; daemon, keeper, and both at once are killed at random moments")
	h := newHost(f)
	var names []string
	var specs []*roostv1.AppSpec
	for n := range f.size(10, 50) {
		names = append(names, "counter"+itoa(int32(n)))
		specs = append(specs, h.counter(names[n], 1000))
	}
	h.apply(specs...)
	before := h.serving()
	f.count("apps", len(before))

	kills := slices.Concat(
		slices.Repeat([]func(){func() { h.killDaemon(names) }}, f.size(3, 10)),
		slices.Repeat([]func(){func() { h.nextKeeper(h.killKeeper()) }}, f.size(3, 10)),
		slices.Repeat([]func(){h.killBoth}, f.size(1, 3)),
	)
	rand.Shuffle(len(kills), func(i, j int) { kills[i], kills[j] = kills[j], kills[i] })
	for _, kill := range kills {
		h.goOnWriting(names, rand.Int64N(int64(f.size(50_000, 200_000))))
		kill()
		f.count("kills", 1)
	}
	h.goOnWriting(names, 10_000)
	h.eventually("all are known again", func() bool { return maps.Equal(h.serving(), before) })

	var stops sync.WaitGroup
	for _, name := range names {
		stops.Go(func() { h.stop(name) })
	}
	stops.Wait()
	for _, name := range names {
		var n numbered
		for line := range h.lines(name) {
			n.see(line)
		}
		n.tell(f, name)
	}
}

// killDaemon has the apps go on without one for a while.
func (h *host) killDaemon(names []string) {
	h.Helper()
	h.daemon.end(syscall.SIGKILL)
	h.goOnWriting(names, 10_000)
	h.startDaemon()
	h.eventually("the daemon answers", func() bool { _, ok := h.keeper(); return ok })
}

// killBoth leaves nobody but the apps with their FIFOs open.
func (h *host) killBoth() {
	h.keeper() // so that its pid is known
	h.daemon.end(syscall.SIGKILL)
	h.killKeeper()
	h.startDaemon()
	h.eventually("the daemon answers", func() bool { _, ok := h.keeper(); return ok })
}

// goOnWriting waits until each app has written so many bytes more.
func (h *host) goOnWriting(names []string, more int64) {
	h.Helper()
	from := map[string]int64{}
	for _, name := range names {
		from[name] = h.stdoutSize(name)
	}
	for _, name := range names {
		h.eventually(name+" goes on writing", func() bool { return h.stdoutSize(name) >= from[name]+more })
	}
}

// lines yields what an app's instances have written to stdout, oldest first.
func (h *host) lines(name string) iter.Seq[string] {
	return h.read(&roostv1.ReadLogsRequest{App: name, Stream: roostv1.LogStream_LOG_STREAM_STDOUT})
}

// read yields the lines of a log that has an end.
func (h *host) read(req *roostv1.ReadLogsRequest) iter.Seq[string] {
	return func(yield func(string) bool) {
		ctx, cancel := context.WithCancel(h.Context())
		defer cancel()
		stream, err := h.logs.ReadLogs(ctx, req)
		if err != nil {
			h.Fatal(err)
		}
		for {
			m, err := stream.Recv()
			if err == io.EOF {
				return
			}
			if err != nil {
				h.Fatal(err)
			}
			for _, e := range m.GetBatch().GetEntries() {
				if !yield(string(e.Data)) {
					return
				}
			}
		}
	}
}

// numbered checks what the test app's -count has written.
type numbered struct {
	next                    int // number of the line to come
	missing, repeated, torn int
	ended                   bool   // with the app's own word on how many they were
	first                   string // that was wrong
}

func (n *numbered) see(line string) {
	var number int
	switch {
	case strings.HasPrefix(line, "started "):
		return
	case strings.HasPrefix(line, "lines "):
		n.ended = true
		_, _ = fmt.Sscanf(line, "lines %d\n", &number)
		n.missing += max(0, number-n.next)
		n.note(number != n.next, line)
		return
	}
	if _, err := fmt.Sscanf(line, "line %d", &number); err != nil || line != fmt.Sprintf(numberedLine, number) {
		n.torn++
		n.note(true, line)
		return
	}
	n.note(number != n.next, line)
	n.repeated += count(number < n.next)
	n.missing += max(0, number-n.next)
	n.next = max(n.next, number+1)
}

const numberedLine = "line %08d of a text that is as long as log lines are, give or take a few words\n"

func (n *numbered) note(wrong bool, line string) {
	if wrong && n.first == "" {
		n.first = fmt.Sprintf("after %d lines: %q", n.next, line)
	}
}

// tell has a case of the fault suite note what was found.
func (n *numbered) tell(f *faultCase, name string) {
	f.Helper()
	f.count("lines", n.next)
	f.lost("lines", n.missing)
	f.lost("lines repeated", n.repeated)
	f.lost("lines torn", n.torn)
	f.lost("app's last words", count(!n.ended))
	if n.first != "" {
		f.Logf("%s, %s", name, n.first)
	}
}
