package endpoint

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
)

func TestKernel_WaitSeesTheExit(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start := Kernel{}.StartTime(cmd.Process.Pid)
	if start == 0 {
		t.Fatal("no start time")
	}
	done := make(chan error, 1)
	go func() { done <- Kernel{}.Wait(t.Context(), cmd.Process.Pid, start) }()
	select {
	case err := <-done:
		t.Fatalf("it was said to be gone: %v", err)
	default:
	}
	if err := errors.Join(cmd.Process.Kill(), ignore(cmd.Wait())); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := (Kernel{}).Wait(t.Context(), cmd.Process.Pid, start); err != nil {
		t.Errorf("one that is gone already: %v", err)
	}
}

func ignore(error) error { return nil }

func TestKernel_AnotherProcessWithThePidIsNotIt(t *testing.T) {
	if err := (Kernel{}).Wait(t.Context(), os.Getpid(), Kernel{}.StartTime(os.Getpid())+1); err != nil {
		t.Error(err)
	}
}

func TestKernel_WaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Kernel{}.Wait(ctx, os.Getpid(), Kernel{}.StartTime(os.Getpid())) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
