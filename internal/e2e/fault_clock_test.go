package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// The host's clock is set, by hours and by days, with a daemon and while there is
// none: only what goes by the time of day notices.
func TestFault_TheClockIsSet(t *testing.T) {
	f := fault(t, "30", "the clock is set by hours and days, back and forth, under load, with and without a daemon; an app is stopped by SIGSTOP")
	f.Parallel()
	clock := newWallClock(f)
	h := newHostFrom(f, clock.dir, nil)
	web, idler, frozen, counter := h.spec("web"), h.spec("idler"), h.spec("frozen"), h.counter("counter", 200)
	web.Instances = new(int32(2))
	web.Health = &roostv1.Health{
		Check: &roostv1.Health_Http{Http: &roostv1.HttpCheck{Path: "/health"}}, Interval: durationpb.New(200 * time.Millisecond),
	}
	for _, s := range []*roostv1.AppSpec{web, idler, frozen, counter} {
		s.Recycle.MaxAge = durationpb.New(time.Hour)
	}
	idler.Idle = &roostv1.Idle{After: durationpb.New(time.Hour)}
	h.apply(web, idler, frozen, counter)
	names := []string{"web", "idler", "frozen", "counter"}
	for _, name := range names[:3] {
		h.get(name, "/").wants(f, http.StatusOK)
	}
	h.eventually("all are ready", func() bool { return h.app("web").Ready == 2 })
	before := h.pidsOf(names)
	if err := syscall.Kill(int(h.pids("frozen")[0]), syscall.SIGSTOP); err != nil {
		f.Fatal(err)
	}
	l := startLoad(h, "web", 10, 100, true)

	var since time.Time // by the clock as it is at last
	from := 0           // lines of the counter before that
	ahead := []time.Duration{3 * time.Hour, -3 * time.Hour, 24 * time.Hour, -24 * time.Hour, 0}
	if !f.full() {
		ahead = ahead[1:]
	}
	for n, d := range ahead {
		if n%2 == 0 {
			clock.ahead(d)
		} else { // the next daemon has another clock
			h.daemon.end(syscall.SIGKILL)
			clock.ahead(d)
			h.startDaemon()
		}
		f.count("settings", 1)
		if d == 0 {
			from, since = h.lastNumber("counter")+1, time.Now()
		}
		h.apply(h.spec("marker" + itoa(int32(n))))
		h.goOnWriting([]string{"counter"}, 10_000)
		h.allServe([]*load{l}, 50)
		f.lost("pids", count(!maps.EqualFunc(h.pidsOf(names), before, slices.Equal)))
		h.told(d)
	}
	l.tell(f)
	f.lost("connections", l.dials-10)

	victim := h.pids("web")[0]
	kill(f, victim)
	h.eventually("a crash is mended at once", func() bool {
		return h.app("web").Ready == 2 && !slices.Contains(h.pids("web"), victim)
	})
	if err := syscall.Kill(int(h.pids("frozen")[0]), syscall.SIGCONT); err != nil {
		f.Fatal(err)
	}
	h.get("frozen", "/").wants(f, http.StatusOK)
	for name, starts := range map[string]int{"web": 3, "idler": 1, "frozen": 1, "counter": 1} {
		f.lost("starts too many", h.count(name, "InstanceStarting")-starts)
	}
	h.inOrder(f, len(ahead))
	h.stop("counter")
	h.numberedSince(f, since, from)
}

func (h *host) pidsOf(names []string) map[string][]int32 {
	h.Helper()
	pids := map[string][]int32{}
	for _, name := range names {
		pids[name] = h.pids(name)
	}
	return pids
}

// told checks that the newest event has the clock's time: that it really is set.
func (h *host) told(d time.Duration) {
	h.Helper()
	events := h.seen("")
	at := events[len(events)-1].Time.AsTime()
	if off := at.Sub(time.Now().Add(d)).Abs(); off > 2*time.Minute {
		h.Errorf("an event of now is from %v, %v from the clock that is %v ahead", at, off, d)
	}
}

// inOrder checks that n apps, which were applied one after another under as many
// clocks, are told of in that order.
func (h *host) inOrder(f *faultCase, n int) {
	h.Helper()
	var created []string
	for _, e := range h.seen("") {
		if e.Id == "AppCreated" && strings.HasPrefix(e.App, "marker") {
			created = append(created, e.App)
		}
	}
	f.count("events", len(created))
	f.lost("events", n-len(created))
	f.lost("events in order", count(!slices.IsSorted(created)))
}

// lastNumber is the newest of the counter's lines.
func (h *host) lastNumber(name string) int {
	h.Helper()
	var n numbered
	for line := range h.read(&roostv1.ReadLogsRequest{App: name, Tail: new(int32(1)), Stream: roostv1.LogStream_LOG_STREAM_STDOUT}) {
		_, _ = fmt.Sscanf(line, "line %d", &n.next)
	}
	return n.next
}

// numberedSince checks that all of the counter's lines are there, and that those since
// a moment have all that were written after it, from the one with the number from on.
// Earlier ones may be among them: the clock had been ahead.
func (h *host) numberedSince(f *faultCase, since time.Time, from int) {
	h.Helper()
	var all numbered
	for line := range h.lines("counter") {
		all.see(line)
	}
	all.tell(f, "counter")
	found := map[int]bool{}
	for line := range h.read(&roostv1.ReadLogsRequest{
		App: "counter", Stream: roostv1.LogStream_LOG_STREAM_STDOUT, Since: timestamppb.New(since),
	}) {
		n := -1
		_, _ = fmt.Sscanf(line, "line %d", &n)
		found[n] = true
	}
	missing := 0
	for n := from; n < all.next; n++ {
		missing += count(!found[n])
	}
	f.count("lines since", all.next-from)
	f.lost("lines since", missing)
}
