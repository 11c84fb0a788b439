// Package rungroup runs the long-lived parts of a program as one list of tasks
// that live and end together.
//
// All tasks are cancelled at the same moment. Where one must outlive the others,
// as a store outlives what writes to it, nest: the outer group's task runs the
// inner group, and the outer context ends after it.
package rungroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Task is one long-lived part of a program. Run returns only when all that it
// started has ended: nil when its work is done, or because its context ended.
type Task struct {
	// Name says which part it is; errors begin with it.
	Name string
	Run  func(ctx context.Context) error
}

// Run starts all tasks and returns when every one has returned. The end of ctx,
// or the first task that fails, ends the context of all; context.Cause tells a
// task which of the two it was. A task that returns nil just leaves the group.
//
// The result joins the failures, the first one first, each with its task's name;
// a task that reports only that its context ended did not fail, so a group that
// was asked to stop and did returns nil. A panic in a task is not recovered.
func Run(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var failed failures
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() {
			if err := run(ctx, t); err != nil {
				failed.add(err)
				cancel(err)
			}
		})
	}
	wg.Wait()
	return failed.join()
}

// run returns why t failed, or nil.
func run(ctx context.Context, t Task) error {
	err := t.Run(ctx)
	if err == nil || ctx.Err() != nil && isEnd(ctx, err) {
		return nil
	}
	return fmt.Errorf("%s: %w", t.Name, err)
}

// isEnd reports whether err only says that ctx has ended.
func isEnd(ctx context.Context, err error) bool {
	return errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))
}

// failures collects errors in the order in which they came.
type failures struct {
	mu   sync.Mutex
	errs []error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

// join returns the one error as it is, so that a log line stays a line.
func (f *failures) join() error {
	if len(f.errs) == 1 {
		return f.errs[0]
	}
	return errors.Join(f.errs...)
}
