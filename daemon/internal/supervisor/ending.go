package supervisor

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/failpoint"
)

// end brings a process to its end, as its stop order says, and stays until
// nothing of it is left. One that ended by itself has no order.
func (i *instance) end(ctx context.Context, p app.Process) {
	if s := i.order.stop; s != nil && !closed(p.Exited()) {
		failpoint.Here(failpoint.Stopping)
		i.annotate(ctx, p, map[string]string{noteStopping: s.reason})
		i.unblock(ctx, p)
		failpoint.Here(failpoint.Drain)
		i.drain(ctx, p, s)
		failpoint.Here(failpoint.Signal)
		i.ask(ctx, p)
	}
	if ctx.Err() != nil {
		return
	}
	failpoint.Here(failpoint.Bury)
	if !i.bury(ctx, p) {
		return
	}
	failpoint.Here(failpoint.Gone)
	exit := p.Exit()
	tail := i.cfg.Recorder.OutputTail(i.launch.Spec.Name, i.launch.ID, tailBytes)
	i.annotate(ctx, p, map[string]string{noteAccounted: "1"})
	failpoint.Here(failpoint.Account)
	i.tell(gone{id: i.launch.ID, exit: &exit, tail: tail, asked: i.asked})
}

// drain waits until the open requests are finished, at most for the order's
// limit.
func (i *instance) drain(ctx context.Context, p app.Process, s *stopOrder) {
	if s.drain <= 0 || s.kill {
		return
	}
	wait, cancel := context.WithTimeout(ctx, s.drain)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if err := i.cfg.Publisher.WaitDrained(wait, i.launch.Spec.Name, i.launch.ID, s.revision); err != nil {
			i.log.Debug("drain ended early", "error", err)
		}
	}()
	i.await(ctx, p, drained, 0)
	cancel()
	<-drained
}

// await waits for done, the process's exit, an order to kill, the limit (0: none),
// whichever comes first, and tells whether it was done or the exit. Without a
// done it waits for an order to stop.
func (i *instance) await(ctx context.Context, p app.Process, done <-chan struct{}, limit time.Duration) bool {
	var timeout <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		timeout = t.C
	}
	for {
		if s := i.order.stop; s != nil && (s.kill || done == nil) {
			return false
		}
		exit := p.Exited()
		if done == p.Gone() {
			exit = nil // what the leader leaves behind has its time too
		}
		select {
		case <-done:
			return true
		case <-exit:
			return true
		case i.order = <-i.orders:
		case <-timeout:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// bury kills what is left, however often that takes. It is false where ctx ended
// first. The keeper kills what a leader leaves behind by itself: it is asked only
// where that takes long.
func (i *instance) bury(ctx context.Context, p app.Process) bool {
	own := closed(p.Exited())
	for !closed(p.Gone()) {
		if !own {
			if err := p.Kill(ctx); err != nil && ctx.Err() == nil {
				i.log.Warn("tree not killed", "error", err)
			}
		}
		own = false
		t := time.NewTimer(killAgain)
		select {
		case <-p.Gone():
		case <-t.C:
		case <-i.orders: // there is nothing left to ask for
		case <-ctx.Done():
			t.Stop()
			return false
		}
		t.Stop()
	}
	select {
	case <-p.Exited():
		return true
	case <-ctx.Done():
		return false
	}
}

// annotate adds notes to the process's record. A failure costs a later daemon
// some knowledge, nothing more.
func (i *instance) annotate(ctx context.Context, p app.Process, notes map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, keeperPatience)
	defer cancel()
	if err := p.Annotate(ctx, notes); err != nil && ctx.Err() == nil {
		i.log.Warn("record not annotated", "error", err)
	}
}
