package e2e

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The fault suite kills programs, fills disks and takes things away, and counts
// what was lost by it. It is not part of the plain tests: `make fault` runs it.

var faultForm = flag.String("fault", "", "run the fault suite, and nothing else: short or full")

// faultNumbers are the cases that a run of the whole suite must have. The others
// of the list that they are from, 24 to 26, are about roles, users and applies:
// tests of their own.
var faultNumbers = []int{
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 27, 28, 29, 30, 31, 32,
}

// faultCase is one test of the suite. It takes the place of the test's T.
type faultCase struct {
	*testing.T
	began time.Time

	mu      sync.Mutex
	row     faultRow
	counted tally
	losses  tally
	slow    map[string]time.Duration
}

// fault makes a test a case of the suite: number is its place in the list of
// faultNumbers, "-" without one; what says what is done, in a few words. Outside
// the suite the test is skipped. A case that does not need the machine for itself
// says so with f.Parallel.
func fault(t *testing.T, number, what string) *faultCase {
	t.Helper()
	if *faultForm == "" {
		t.Skip("part of the fault suite: make fault")
	}
	f := &faultCase{T: t, began: time.Now(), row: faultRow{number: number, what: what}}
	t.Cleanup(f.end) // the first, so that it runs after those of the case have failed it or not
	return f
}

// full tells the long form from the short one.
func (f *faultCase) full() bool { return *faultForm == "full" }

// size is how much of something there is in each form.
func (f *faultCase) size(short, full int) int {
	if f.full() {
		return full
	}
	return short
}

// count adds to what the case has looked at: requests, lines, kills.
func (f *faultCase) count(what string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted.add(what, n)
}

// lost adds to what should have been there and was not. Naming what was looked for
// with 0 shows that none of it was lost; anything above fails the case.
func (f *faultCase) lost(what string, n int) {
	f.Helper()
	f.mu.Lock()
	f.losses.add(what, n)
	f.mu.Unlock()
	if n > 0 {
		f.Errorf("lost: %d %s", n, what)
	}
}

// slowest notes how long something took; the table shows the longest.
func (f *faultCase) slowest(what string, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slow == nil {
		f.slow = map[string]time.Duration{}
	}
	f.slow[what] = max(f.slow[what], took)
}

func (f *faultCase) Parallel() {
	f.T.Parallel()
	f.began = time.Now() // not when it began to wait for its turn
}

func (f *faultCase) Skip(args ...any) {
	f.Helper()
	f.skip(strings.TrimSpace(fmt.Sprintln(args...)))
}

func (f *faultCase) Skipf(format string, args ...any) {
	f.Helper()
	f.skip(fmt.Sprintf(format, args...))
}

func (f *faultCase) skip(reason string) {
	f.Helper()
	f.row.result = "skipped: " + reason
	f.T.Skip(reason)
}

// end files the case's row.
func (f *faultCase) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.row.counted, f.row.lost, f.row.took = f.seen(), f.losses.String(), time.Since(f.began)
	switch {
	case f.losses.sum() > 0:
		f.row.result = "LOST"
	case f.Failed():
		f.row.result = "FAILED"
	case f.row.result == "":
		f.row.result = "ok"
	}
	faultRows.Lock()
	defer faultRows.Unlock()
	faultRows.list = append(faultRows.list, f.row)
}

// seen is what was counted, and what took how long.
func (f *faultCase) seen() string {
	parts := []string{f.counted.String()}
	for _, what := range slices.Sorted(maps.Keys(f.slow)) {
		parts = append(parts, fmt.Sprintf("%s %v", what, f.slow[what].Round(time.Millisecond)))
	}
	return strings.TrimPrefix(strings.Join(parts, ", "), ", ")
}

// tally counts things by name, in the order in which they were first named.
type tally []tallied

type tallied struct {
	what string
	n    int
}

func (l *tally) add(what string, n int) {
	i := slices.IndexFunc(*l, func(c tallied) bool { return c.what == what })
	if i < 0 {
		i = len(*l)
		*l = append(*l, tallied{what: what})
	}
	(*l)[i].n += n
}

func (l tally) sum() int {
	sum := 0
	for _, c := range l {
		sum += c.n
	}
	return sum
}

func (l tally) String() string {
	parts := make([]string, 0, len(l))
	for _, c := range l {
		parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
	}
	return strings.Join(parts, ", ")
}
