package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/failpoint"
)

const (
	// tailBytes is how much of what an instance wrote stays with it once it ended.
	tailBytes = 8 << 10
	// startTail is how much of it goes with a failed start, to who waits for that and
	// to the event log: as many bytes as the module takes characters.
	startTail = 30_000
	// tailPatience is how long a failed start waits for its last output: every
	// waiting request waits with it.
	tailPatience = 50 * time.Millisecond
	// turnLimit is how long a start holds its place at the gate: one that takes
	// longer waits for something, it does not keep the machine busy.
	turnLimit = 5 * time.Second
	// workerTurn is the same where nothing tells when the boot is over: an app without
	// an address and a probe is ready once it has run for recycle.min_ready. Held for
	// as long, a hundred of them would be minutes on their way.
	workerTurn = 200 * time.Millisecond
	// keeperPatience bounds a call to the keeper that nobody waits for.
	keeperPatience = 5 * time.Second
	// killAgain is how often a tree that will not die is killed again.
	killAgain = time.Second
)

// The notes that go with a process, for the next daemon.
const (
	noteRollout   = "rollout"   // the rollout that started it
	noteReady     = "ready"     // when it became ready, RFC 3339
	noteAddress   = "address"   // where it is reached
	noteStopping  = "stopping"  // why it was told to stop
	noteAccounted = "accounted" // its end has been told
)

// order is all that a controller wants of an instance. A newer one replaces it,
// so each holds what the ones before it said.
type order struct {
	check  int  // probe again, if this is above what was answered
	urgent bool // somebody waits for it
	stop   *stopOrder
}

// stopOrder ends an instance.
type stopOrder struct {
	revision uint64        // of the set that shows it draining
	drain    time.Duration // 0: at once
	signal   syscall.Signal
	timeout  time.Duration
	kill     bool // do not wait for anything
	reason   string
}

// instance is one start of an app. Its goroutine goes through run once, from top
// to bottom: launch, wait until ready, serve, drain, signal, kill. What happens on
// the way it tells its controller, and waits until that has heard.
type instance struct {
	*shared
	launch  app.Launch
	address string // where it was ready; "": it never was
	orders  <-chan order
	tell    func(event) bool
	urgent  bool
	log     hclog.Logger
	order   order // the newest one
	checked int   // the newest check that was answered
	asked   asked // how it was asked to end
}

// run starts the instance and stays with it until no process of it is left, or
// ctx ends: then the process is left alone.
func (i *instance) run(ctx context.Context) {
	defer i.releasePort()
	t := i.gate.enter(i.urgent)
	defer i.gate.leave(t)
	if !i.awaitTurn(ctx, t) {
		i.tell(gone{id: i.launch.ID})
		return
	}
	p, err := i.begin(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		i.tell(startFailed{id: i.launch.ID, err: err, stranger: i.dynamicPort() && err.Step == stepPort})
		i.tell(gone{id: i.launch.ID})
		return
	}
	i.tell(launched{id: i.launch.ID, launch: i.launch, process: p})
	i.follow(ctx, p, t)
}

// resume takes over a process that an earlier daemon launched. With an address it
// has been ready, and ready tells whether it still is.
func (i *instance) resume(ctx context.Context, p app.Process, address string, ready bool) {
	defer i.releasePort()
	i.address = address
	switch {
	case p.Info().Notes[noteStopping] != "":
		i.await(ctx, p, nil, 0) // its controller orders the stop
		i.end(ctx, p)
	case p.Info().Notes[noteReady] != "":
		i.serve(ctx, p, address, ready)
		i.end(ctx, p)
	default:
		t := i.gate.enter(true)
		defer i.gate.leave(t)
		i.follow(ctx, p, t)
	}
}

// awaitTurn waits at the gate. It is false where the instance is told to stop, or
// ctx ends.
func (i *instance) awaitTurn(ctx context.Context, t *turn) bool {
	for {
		select {
		case <-t.come:
			return true
		case i.order = <-i.orders:
			if i.order.stop != nil {
				return false
			}
			if i.order.urgent {
				i.gate.hurry(t)
			}
		case <-ctx.Done():
			return false
		}
	}
}

// begin launches the process, on a port that nobody else listens on.
func (i *instance) begin(ctx context.Context) (app.Process, *app.StartError) {
	began := time.Now()
	if err := i.choosePort(); err != nil {
		return nil, err
	}
	chosen := time.Now()
	i.launch.HTTPSPort = i.cfg.Publisher.HTTPSPort()
	failpoint.Here(failpoint.Launch)
	p, err := i.cfg.Launcher.Launch(ctx, i.launch)
	failpoint.Here(failpoint.Launched)
	if err != nil {
		return nil, asStartError(err, "launch")
	}
	i.log.Debug("launched", "port", i.launch.Port, "choosing", chosen.Sub(began), "launching", time.Since(chosen))
	return p, nil
}

// follow waits until the process is ready, serves, and ends it.
func (i *instance) follow(ctx context.Context, p app.Process, t *turn) {
	address, err, told := i.awaitReady(ctx, p, t)
	i.gate.leave(t)
	switch {
	case ctx.Err() != nil:
		return
	case told:
	case err != nil:
		i.reportFailedStart(ctx, p, err)
	default:
		i.address = address
		failpoint.Here(failpoint.Ready)
		i.tell(becameReady{id: i.launch.ID, address: address})
		failpoint.Here(failpoint.Published)
		i.annotate(ctx, p, map[string]string{
			noteReady: time.Now().Format(time.RFC3339Nano), noteAddress: address,
		})
		failpoint.Here(failpoint.Noted)
		i.serve(ctx, p, address, true)
	}
	i.end(ctx, p)
}

// awaitReady returns the address of the ready process, why it did not become
// ready, or that it was told to stop meanwhile.
func (i *instance) awaitReady(ctx context.Context, p app.Process, t *turn) (address string, fail *app.StartError, told bool) {
	timeout := *i.launch.Spec.Start.Timeout
	ask, cancel := context.WithTimeout(ctx, timeout)
	type answer struct {
		address string
		err     error
	}
	answers := make(chan answer, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		address, err := i.cfg.Prober.WaitReady(ask, p, i.launch)
		if err == nil {
			err = i.warmUp(ask, p, address)
		}
		answers <- answer{address, err}
	})
	slow := time.NewTimer(i.turn())
	defer slow.Stop()
	for {
		select {
		case a := <-answers:
			switch {
			case closed(p.Exited()):
				return "", exitedEarly(p.Exit()), false
			case a.err != nil:
				fail := asStartError(a.err, "probe")
				fail.Timeout = fail.Timeout || errors.Is(ask.Err(), context.DeadlineExceeded)
				return "", fail, false
			}
			return a.address, nil, false
		case <-p.Exited():
			return "", exitedEarly(p.Exit()), false
		case i.order = <-i.orders:
			if i.order.stop != nil {
				return "", nil, true
			}
		case <-slow.C:
			i.gate.leave(t)
		case <-ctx.Done():
			return "", nil, true
		}
	}
}

// turn is how long the start holds its place at the gate.
func (i *instance) turn() time.Duration {
	if s := i.launch.Spec; s.Listen.Mode == app.ListenNone && s.Ready.Kind == app.ProbeListen {
		return workerTurn
	}
	return turnLimit
}

// warmUp requests start.warmup, where it is given. Whatever is answered, the
// instance is ready: its probe has said so.
func (i *instance) warmUp(ctx context.Context, p app.Process, address string) error {
	path := i.launch.Spec.Start.Warmup
	if path == "" {
		return nil
	}
	began := time.Now()
	status, err := i.cfg.Prober.WarmUp(ctx, p, i.launch, address)
	if err != nil {
		return err
	}
	i.tell(warmedUp{id: i.launch.ID, path: path, status: status, took: time.Since(began)})
	return nil
}

// reportFailedStart tells why the start failed, with the process's last output,
// and ends what is left of the process.
func (i *instance) reportFailedStart(ctx context.Context, p app.Process, err *app.StartError) {
	stranger := err.Step == stepPort
	if err.Exit != nil {
		patience := time.NewTimer(tailPatience)
		defer patience.Stop()
		select {
		case <-p.Gone():
			owner, busy := i.portOwner()
			if stranger = busy; busy {
				err = &app.StartError{
					Step: stepPort, Exit: err.Exit,
					Message: fmt.Sprintf("%s; %s has its port %d", err.Message, owner, i.launch.Port),
				}
			}
		case <-patience.C:
		case <-ctx.Done():
			return
		}
	}
	tail := i.cfg.Recorder.OutputTail(i.launch.Spec.Name, i.launch.ID, startTail)
	i.tell(startFailed{id: i.launch.ID, err: err, tail: tail, stranger: stranger && i.dynamicPort()})
	if i.order.stop == nil {
		i.order.stop = ownStop(i.launch.Spec, err.Message)
	}
}

// ownStop is how an instance that cannot serve ends itself.
func ownStop(s app.Spec, reason string) *stopOrder {
	sig, err := app.ParseSignal(s.Stop.Signal)
	if err != nil {
		sig = syscall.SIGTERM // a validated spec has none other
	}
	return &stopOrder{signal: sig, timeout: *s.Stop.Timeout, reason: reason}
}

// exitedEarly is the start error of a process that ended before it was ready.
func exitedEarly(e app.Exit) *app.StartError {
	return &app.StartError{Step: "exit", Exit: &e, Message: "it " + exitText(e) + " before it was ready"}
}

// exitText says how a process ended: "exited with code 3".
func exitText(e app.Exit) string {
	switch {
	case e.Unknown:
		return "ended, how is not known"
	case e.OOM:
		return "was killed for using too much memory (limits.memory)"
	case e.Signal != 0:
		return "was ended by " + app.SignalName(e.Signal)
	}
	return fmt.Sprintf("exited with code %d", e.Code)
}

// asStartError makes err a start error of the given step, where it is none. The
// result is the caller's own.
func asStartError(err error, step string) *app.StartError {
	if e, ok := errors.AsType[*app.StartError](err); ok {
		return new(*e)
	}
	return &app.StartError{Step: step, Message: err.Error(), Err: err}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
