package api

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostd/roost/daemon/internal/logs"
)

// relay sends what a blocking reader finds. The reader has a goroutine of its own
// and waits until each step is sent, so nothing is kept for a slow client; the
// caller's goroutine is the one sender, of heartbeats too.
type relay[T any] struct {
	read     func(ctx context.Context, to logs.Sink[T]) error
	send     func(T) error
	caughtUp func(cursor string) error
	beat     func(cursor string) error // "" where nothing was passed over since the last step
	passed   atomic.Pointer[string]
}

// step is what the reader wants sent.
type step struct {
	do   func() error
	done chan<- error
}

// serve runs until the reader ends, ctx does, or the client is gone.
func (r *relay[T]) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	steps := make(chan step)
	ended := make(chan error, 1)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer cancel()
	reader.Go(func() {
		ended <- r.read(ctx, logs.Sink[T]{
			Emit:     func(found T) error { return pass(ctx, steps, func() error { return r.send(found) }) },
			CaughtUp: func(cursor string) error { return pass(ctx, steps, func() error { return r.caughtUp(cursor) }) },
			Passed:   func(cursor string) { r.passed.Store(&cursor) },
		})
	})
	return r.sendSteps(steps, ended)
}

// sendSteps sends until the reader has ended, or the client is gone.
func (r *relay[T]) sendSteps(steps <-chan step, ended <-chan error) error {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		select {
		case s := <-steps:
			r.passed.Store(nil) // what is sent now leads further
			err := s.do()
			s.done <- err
			if err != nil {
				return err
			}
			ticker.Reset(heartbeatEvery)
		case <-ticker.C:
			if err := r.beat(r.lastPassed()); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}

func (r *relay[T]) lastPassed() string {
	if p := r.passed.Load(); p != nil {
		return *p
	}
	return ""
}

// pass has a step sent and waits until it is.
func pass(ctx context.Context, steps chan<- step, do func() error) error {
	done := make(chan error, 1)
	select {
	case steps <- step{do, done}:
		return <-done
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
