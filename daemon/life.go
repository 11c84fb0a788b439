package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/roostd/roost/daemon/internal/api"
	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/endpoint"
)

// keeperPatience is how long the keeper may take to end, with all that it must kill.
const keeperPatience = 15 * time.Second

// life is how a daemon comes to its end.
type life struct {
	asked   chan order    // holds one: of several that ask at once the first counts
	ended   chan struct{} // closed once the apps are stopped, or left
	outcome outcome       // valid once ended is closed
}

// order has the daemon end.
type order struct {
	detach bool
	why    string
	actor  string
}

// outcome is what became of the instances.
type outcome struct {
	detached bool
	stopped  int
	left     int
	lingers  []app.Lingering
	err      error
}

func newLife() *life {
	return &life{asked: make(chan order, 1), ended: make(chan struct{})}
}

// tidy tells whether the daemon has ended in the way that leaves nothing behind.
func (l *life) tidy() bool {
	select {
	case <-l.ended:
		return !l.outcome.detached
	default:
		return false
	}
}

// live waits for the daemon's end: that of ctx, which a signal brings, or an order
// by API. It stops the instances, or leaves them. Where serving ends before,
// because a part has failed, they are left, too: the next daemon finds them.
func (d *daemon) live(ctx, serving context.Context) error {
	var o order
	select {
	case <-ctx.Done():
		o = order{detach: d.cfg.detachOnExit, why: context.Cause(ctx).Error()}
	case o = <-d.life.asked:
	case <-serving.Done():
		return nil
	}
	d.cfg.notify("STOPPING=1")
	d.health.Shutdown()
	d.cfg.log.Info("stopping", "reason", o.why, "detach", o.detach)
	d.record(app.EventDaemonStopping, "roostd is stopping: "+o.why, o.actor)
	d.life.outcome = d.end(serving, o)
	close(d.life.ended)
	return d.life.outcome.err
}

// end stops the instances, or leaves them.
func (d *daemon) end(ctx context.Context, o order) outcome {
	if o.detach {
		left := d.liveInstances()
		d.apps.Detach()
		return outcome{detached: true, left: left}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-d.cfg.hurry:
			d.cfg.log.Warn("killing every app")
			cancel()
		case <-ctx.Done():
		}
	}()
	stopped, lingering, err := d.apps.StopAll(ctx)
	if err != nil && ctx.Err() != nil {
		err = nil // it was not waited for: the keeper kills what is left
	}
	for _, l := range lingering {
		d.cfg.log.Error("an instance lingers: its processes were killed, and hang in the kernel", "app", l.App, "instance", l.Instance, "pids", l.PIDs)
	}
	return outcome{stopped: stopped, left: len(lingering), lingers: lingering, err: err}
}

// endKeeper ends the keeper, which kills what may be left, and returns when its
// process is gone.
func (d *daemon) endKeeper() error {
	info, ok := d.keeper.Keeper()
	if !ok {
		return nil
	}
	var kernel endpoint.Kernel
	start := kernel.StartTime(info.PID)
	ctx, cancel := context.WithTimeout(context.Background(), keeperPatience)
	defer cancel()
	if list := d.life.outcome.lingers; len(list) > 0 {
		// It stays with what it cannot kill, takes nothing new, and ends with the last.
		if err := d.keeper.Shutdown(ctx, false); err != nil {
			return fmt.Errorf("telling the keeper, pid %d, to end: %w", info.PID, err)
		}
		return lingerError(list)
	}
	if err := d.keeper.Shutdown(ctx, true); err != nil {
		return fmt.Errorf("ending the keeper, pid %d: %w", info.PID, err)
	}
	if err := kernel.Wait(ctx, info.PID, start); err != nil {
		return fmt.Errorf("waiting for the end of the keeper, pid %d: %w", info.PID, err)
	}
	return nil
}

// lingerError names what could not be stopped.
func lingerError(list []app.Lingering) error {
	names := make([]string, 0, len(list))
	for _, l := range list {
		names = append(names, fmt.Sprintf("%s (instance %s, pids %v)", l.App, l.Instance, l.PIDs))
	}
	return fmt.Errorf("not all is stopped: %s: killed, but hanging in the kernel; the keeper waits for them", strings.Join(names, ", "))
}

// Shutdown has the daemon end and returns once the instances are stopped, or left.
// Whoever asks may leave meanwhile.
func (d *daemon) Shutdown(ctx context.Context, detach bool, actor string) (api.Outcome, error) {
	select {
	case d.life.asked <- order{detach: detach, why: "asked by " + actor, actor: actor}:
	default: // it is ending already
	}
	select {
	case <-d.life.ended:
		o := d.life.outcome
		return api.Outcome{Stopped: o.stopped, Left: o.left, Lingering: o.lingers}, o.err
	case <-ctx.Done():
		return api.Outcome{}, context.Cause(ctx)
	}
}

func (d *daemon) liveInstances() int {
	n := 0
	for _, i := range d.apps.Instances().All() {
		if i.Phase != app.PhaseExited {
			n++
		}
	}
	return n
}
