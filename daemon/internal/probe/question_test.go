package probe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/probe/sockdiag"
)

// cutShort is a process whose second probe is still going when the start's time is
// up. Who carries it out sees that a moment before the start does.
type cutShort struct {
	*process
	asked int
}

func (p *cutShort) Exec(ctx context.Context, _ []string, _ time.Duration) error {
	if p.asked++; p.asked == 1 {
		return errors.New("exit status 1")
	}
	deadline, _ := ctx.Deadline()
	time.Sleep(time.Until(deadline) - time.Millisecond)
	return errors.New("rpc error: deadline exceeded")
}

func TestWaitReady_TheLastAnswerIsNotThatOfAProbeCutShort(t *testing.T) {
	proc := fakeProc(t, map[int][]uint32{7: {70}})
	synctest.Test(t, func(t *testing.T) {
		r := fakeProber(&fakeKernel{sockets: []sockdiag.Socket{socketAt("127.0.0.1:80", 70)}}, proc)
		l := portLaunch(80)
		l.Spec.Ready.Kind = app.ProbeExec
		l.Spec.Ready.Timeout = new(time.Minute)
		p := &cutShort{process: &process{info: app.ProcessInfo{PID: 7}}}
		_, err := wait(t, r, p, l, 5*time.Second)
		if e := startError(t, err); !e.Timeout || !strings.Contains(e.Message, "exit status 1") {
			t.Errorf("%+v", e)
		}
	})
}
