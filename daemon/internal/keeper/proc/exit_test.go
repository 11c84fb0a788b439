package proc

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// begin starts a shell that ends as the script says once its input is closed.
func begin(t *testing.T, script string) (cmd *exec.Cmd, h Handle, ticks uint64, release func()) {
	t.Helper()
	cmd = exec.Command("sh", "-c", "read x; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s, err := ReadStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if h, err = Open(s.PID, s.StartTicks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return cmd, h, s.StartTicks, func() { in.Close() }
}

func TestHandle_StatusOfAnothersChild(t *testing.T) {
	for _, c := range []struct {
		script string
		want   unix.WaitStatus
	}{
		{"exit 7", 7 << 8},
		{"exit 0", 0},
		{"kill -SEGV $$", unix.WaitStatus(unix.SIGSEGV)},
	} {
		cmd, h, ticks, release := begin(t, c.script)
		if h.Ended() {
			t.Errorf("%s: it has ended before it was told to", c.script)
		}
		release()
		ctx, cancel := context20(t)
		defer cancel()
		if err := h.Wait(ctx); err != nil || !h.Ended() {
			t.Fatalf("%s: wait: %v", c.script, err)
		}
		if ws, ok := h.Status(cmd.Process.Pid, ticks); !ok || ws&^0x80 != c.want { // 0x80: it left a core
			t.Errorf("%s: of a zombie %x, %v, want %x", c.script, ws, ok, c.want)
		}
		if _, ok := zombieStatus(cmd.Process.Pid, ticks+1); ok {
			t.Errorf("%s: another process's status was taken for its own", c.script)
		}
		_ = cmd.Wait()
		ws, ok := h.Status(cmd.Process.Pid, ticks)
		if !ok {
			t.Log("this kernel does not tell of a process that was reaped (Linux 6.15 does)")
			continue
		}
		if ws&^0x80 != c.want {
			t.Errorf("%s: of a reaped one %x, want %x", c.script, ws, c.want)
		}
	}
}

func TestHandle_WaitEndsWithItsContext(t *testing.T) {
	cmd, h, _, release := begin(t, "exit 0")
	ctx, cancel := context20(t)
	ended := make(chan error, 1)
	go func() { ended <- h.Wait(ctx) }()
	select {
	case err := <-ended:
		t.Errorf("it waits for a process that lives: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error after its context's end")
	}
	release()
	_ = cmd.Wait()
}

func context20(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 20*time.Second)
}
