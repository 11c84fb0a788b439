package activator

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/roostd/roost/proxy/internal/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStarter is a daemon: every question goes to answer.
type fakeStarter struct {
	answer func(q question) error

	mu     sync.Mutex
	synced chan struct{}
	asked  []question
}

type question struct {
	ctx             context.Context
	app             string
	epoch, revision uint64
	failed          []string
	n               int // 1 for the first
}

func (s *fakeStarter) Synced() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

func (s *fakeStarter) Activate(ctx context.Context, app string, epoch, revision uint64, failed []string) error {
	s.mu.Lock()
	q := question{ctx: ctx, app: app, epoch: epoch, revision: revision, failed: failed, n: len(s.asked) + 1}
	s.asked = append(s.asked, q)
	s.mu.Unlock()
	return s.answer(q)
}

func (s *fakeStarter) connect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.synced)
}

func (s *fakeStarter) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced = make(chan struct{})
}

func (s *fakeStarter) questions() []question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// world is an activator with one cold app, all inside a synctest bubble.
type world struct {
	*fakeStarter
	*Activator
	registry *backend.Registry
	revision uint64 // under applying
	applying sync.Mutex
	stop     func()
}

var policy = backend.Policy{Queue: 1000, QueueTimeout: time.Minute}

// inBubble runs f with a world whose daemon is synced and answers by answer.
func inBubble(t *testing.T, answer func(w *world, q question) error, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{fakeStarter: &fakeStarter{synced: make(chan struct{})}}
		w.fakeStarter.answer = func(q question) error { return answer(w, q) }
		w.registry = backend.NewRegistry(func(string) {})
		w.Activator = New(w.fakeStarter)
		w.publish()
		w.connect()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = w.Run(ctx)
		}()
		w.stop = func() {
			cancel()
			<-ended
		}
		defer w.stop()
		f(t, w)
	})
}

// publish applies the app's next set.
func (w *world) publish(instances ...string) {
	w.applying.Lock()
	defer w.applying.Unlock()
	w.revision++
	w.apply(policy, instances...)
}

func (w *world) apply(p backend.Policy, instances ...string) {
	set := backend.Set{App: "app", Epoch: 1, Revision: w.revision, Policy: p}
	for _, id := range instances {
		set.Endpoints = append(set.Endpoints, backend.Endpoint{Instance: id, Network: "tcp", Address: "127.0.0.1:1"})
	}
	w.registry.Apply(set)
}

func (w *world) pool() *backend.Pool { return w.registry.Get("app") }

// wait has a request wait and returns where its outcome will be.
func (w *world) wait(ctx context.Context, failed ...string) <-chan outcome {
	out := make(chan outcome, 1)
	pool, begin := w.pool(), time.Now()
	go func() {
		err := w.Wait(ctx, pool, failed)
		out <- outcome{err, time.Since(begin)}
	}()
	return out
}

type outcome struct {
	err   error
	after time.Duration
}

// want checks an outcome: code "" is success.
func (o outcome) want(t *testing.T, code string, after time.Duration) {
	t.Helper()
	got := ""
	if o.err != nil {
		got = o.err.Error()
		if f, ok := errors.AsType[*Failure](o.err); ok {
			got = f.Code
		}
	}
	if got != code || o.after != after {
		t.Errorf("got %q after %v, want %q after %v", got, o.after, code, after)
	}
}

// ready is a daemon that needs d for a start.
func ready(d time.Duration) func(*world, question) error {
	return func(w *world, q question) error {
		if !sleep(q.ctx, d) {
			return q.ctx.Err()
		}
		w.publish("i" + strconv.Itoa(q.n))
		return nil
	}
}

// refuse is a daemon that refuses with f after d.
func refuse(d time.Duration, f Failure) func(*world, question) error {
	return func(w *world, q question) error {
		if !sleep(q.ctx, d) {
			return q.ctx.Err()
		}
		f := f
		return &f
	}
}
