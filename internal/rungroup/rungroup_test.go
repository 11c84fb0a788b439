package rungroup_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/roostd/roost/internal/rungroup"
)

const panicking = "RUNGROUP_TEST_PANIC"

func TestMain(m *testing.M) {
	if os.Getenv(panicking) != "" {
		_ = rungroup.Run(context.Background(), rungroup.Task{Name: "p", Run: func(context.Context) error { panic("lost its mind") }})
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// untilEnd waits for the end of its context and reports it, as most tasks do.
func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestRun_FirstErrorCancelsAllWithItselfAsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk is gone")
		var cause error
		err := rungroup.Run(t.Context(),
			rungroup.Task{Name: "api", Run: func(ctx context.Context) error {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return cause
			}},
			rungroup.Task{Name: "store", Run: func(context.Context) error {
				time.Sleep(time.Second)
				return broken
			}},
			rungroup.Task{Name: "logs", Run: untilEnd},
		)
		if !errors.Is(err, broken) || err.Error() != "store: disk is gone" {
			t.Errorf("Run = %v, want only the store's error", err)
		}
		if !errors.Is(cause, broken) {
			t.Errorf("cause = %v, want the store's error", cause)
		}
	})
}

func TestRun_EndOfContextIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := errors.New("terminated")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(asked) })
		var cause error
		err := rungroup.Run(ctx,
			rungroup.Task{Name: "a", Run: untilEnd},
			rungroup.Task{Name: "b", Run: func(ctx context.Context) error {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return cause
			}},
		)
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if !errors.Is(cause, asked) {
			t.Errorf("cause = %v, want %v", cause, asked)
		}
	})
}

func TestRun_WaitsForEveryTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var ended atomic.Int32
		slow := func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute)
			ended.Add(1)
			return nil
		}
		start := time.Now()
		if err := rungroup.Run(ctx, rungroup.Task{Name: "a", Run: slow}, rungroup.Task{Name: "b", Run: slow}); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if got, want := time.Since(start), time.Second+time.Minute; got != want || ended.Load() != 2 {
			t.Errorf("Run returned after %v with %d tasks ended, want %v and 2", got, ended.Load(), want)
		}
	})
}

func TestRun_FinishedTaskLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hour time.Duration
		start := time.Now()
		err := rungroup.Run(t.Context(),
			rungroup.Task{Name: "once", Run: func(context.Context) error { return nil }},
			rungroup.Task{Name: "long", Run: func(ctx context.Context) error {
				select {
				case <-ctx.Done():
				case <-time.After(time.Hour):
					hour = time.Since(start)
				}
				return nil
			}},
		)
		if err != nil || hour != time.Hour {
			t.Errorf("Run = %v after %v, want nil after an hour", err, hour)
		}
	})
}

func TestRun_ErrorsDuringTheShutdownAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := rungroup.Run(t.Context(),
			rungroup.Task{Name: "second", Run: func(ctx context.Context) error {
				<-ctx.Done()
				return errors.New("could not flush")
			}},
			rungroup.Task{Name: "first", Run: func(context.Context) error { return errors.New("broke") }},
		)
		if got, want := err.Error(), "first: broke\nsecond: could not flush"; got != want {
			t.Errorf("Run = %q, want %q", got, want)
		}
	})
}

// A task's own deadline that passes while the group runs is a failure like any other.
func TestRun_CancelledWithoutTheGroupIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := rungroup.Run(t.Context(), rungroup.Task{Name: "dial", Run: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run = %v, want the deadline", err)
		}
	})
}

func TestRun_NothingToRun(t *testing.T) {
	if err := rungroup.Run(t.Context()); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestRun_PanicEndsTheProgram(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), panicking+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "lost its mind") {
		t.Errorf("the program ended with %v and said %q, want a crash that shows the panic", err, out)
	}
}
