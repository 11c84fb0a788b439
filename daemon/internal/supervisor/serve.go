package supervisor

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	recheckFirst = 50 * time.Millisecond // after a check that failed
	recheckMax   = time.Second
	checkLimit   = 10 * time.Second // of one check, whatever the probe's own timeout
)

// serve stays with a ready process until it ends or is told to. It probes again
// when it is asked to, and while the process is unready: for as long as a start
// may take, then it gives the process up.
func (i *instance) serve(ctx context.Context, p app.Process, address string, ready bool) {
	var (
		answers chan error // of the check under way
		cancel  = func() {}
		asked   int // the order that the check under way answers
		pause   = recheckFirst
		again   <-chan time.Time
		since   time.Time // unready since
	)
	defer func() {
		cancel()
		if answers != nil {
			<-answers
		}
	}()
	check := func() {
		var ask context.Context
		ask, cancel = context.WithTimeout(ctx, checkLimit)
		answers, asked, again = make(chan error, 1), i.order.check, nil
		go func() { answers <- i.cfg.Prober.Check(ask, p, i.launch, address) }()
	}
	if !ready {
		since, again = time.Now(), time.After(0)
	}
	for {
		if i.order.stop != nil {
			return
		}
		if answers == nil && i.order.check > i.checked {
			check()
		}
		select {
		case <-p.Exited():
			i.tell(exited{id: i.launch.ID, exit: p.Exit()})
			return
		case i.order = <-i.orders:
		case <-again:
			check()
		case err := <-answers:
			cancel()
			answers = nil
			i.checked = asked
			switch {
			case closed(p.Exited()):
				continue // that says more than a probe
			case err == nil && !ready:
				ready, pause = true, recheckFirst
				i.tell(becameReady{id: i.launch.ID, address: address, check: asked})
			case err == nil:
				i.tell(checked{id: i.launch.ID, check: asked})
			case ready:
				ready, since = false, time.Now()
				again = time.After(pause)
				i.tell(becameUnready{id: i.launch.ID, check: asked, err: err})
			case time.Since(since) >= *i.launch.Spec.Start.Timeout:
				i.tell(gaveUp{id: i.launch.ID, check: asked, err: err})
				i.await(ctx, p, nil, 0)
				return
			default:
				pause = min(2*pause, recheckMax)
				again = time.After(pause)
				i.tell(checked{id: i.launch.ID, check: asked})
			}
		case <-ctx.Done():
			return
		}
	}
}
