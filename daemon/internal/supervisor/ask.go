package supervisor

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	// shutdownPatience is how long the answer to a shutdown request may take, and
	// half of stop.timeout at most: an app that hangs still gets a signal, and time
	// to act on it.
	shutdownPatience = 5 * time.Second
	// lastAnswer is how long the answer of an app that has ended meanwhile is
	// waited for: it was sent before.
	lastAnswer = 100 * time.Millisecond
)

// asked is how a process was asked to end.
type asked struct {
	requested bool  // by the shutdown request of the ASP.NET Core Module
	status    int   // of the answer to that
	err       error // of one that was not answered
	signal    string
}

// accepted tells whether the process said that it ends.
func (a asked) accepted() bool { return a.status == http.StatusAccepted }

// by says by what the process was asked: "SIGTERM, as ...".
func (a asked) by() string {
	switch {
	case !a.requested:
		return a.signal
	case a.accepted():
		return "the shutdown request, which it accepted with 202"
	case a.signal == "":
		return "the shutdown request"
	case a.err != nil:
		return fmt.Sprintf("%s, as the shutdown request failed: %v", a.signal, a.err)
	}
	return fmt.Sprintf("%s, as it answered the shutdown request with %d", a.signal, a.status)
}

func (a asked) attributes(to map[string]string) {
	if a.signal != "" {
		to["stop_signal"] = a.signal
	}
	if a.requested {
		to["shutdown_request"] = "failed"
		if a.err == nil {
			to["shutdown_request"] = strconv.Itoa(a.status)
		}
	}
}

// ask asks the process to end and gives it its time for that: an app with the
// preset by a request, and any that does not take it by its signal.
func (i *instance) ask(ctx context.Context, p app.Process) {
	s := i.order.stop
	if ctx.Err() != nil || s.kill || closed(p.Exited()) {
		return
	}
	i.tell(stopping{id: i.launch.ID})
	began := time.Now()
	i.requestShutdown(ctx, p, s)
	if ctx.Err() != nil {
		return
	}
	if !i.asked.accepted() && !i.order.stop.kill && !closed(p.Exited()) {
		i.asked.signal = app.SignalName(s.signal)
		if err := p.Signal(ctx, s.signal); err != nil && ctx.Err() == nil {
			i.log.Warn("signal not sent", "signal", i.asked.signal, "error", err)
		}
	}
	if s.timeout <= 0 {
		return
	}
	left := max(s.timeout-time.Since(began), time.Nanosecond)
	if !i.await(ctx, p, p.Gone(), left) && ctx.Err() == nil {
		i.tell(killing{id: i.launch.ID, after: s.timeout, asked: i.asked, told: i.order.stop.kill})
	}
}

// requestShutdown asks an app with the preset to end by itself. One that was never
// ready has nobody to ask; without stop.timeout there is no time to.
func (i *instance) requestShutdown(ctx context.Context, p app.Process, s *stopOrder) {
	if i.launch.Spec.Preset != app.PresetASPNETCore || i.address == "" || s.timeout <= 0 {
		return
	}
	i.asked.requested = true
	ask, cancel := context.WithTimeout(ctx, min(shutdownPatience, s.timeout/2))
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.asked.status, i.asked.err = i.cfg.Prober.RequestShutdown(ask, p, i.launch, i.address)
	}()
	if i.await(ctx, p, done, 0) { // done, or it has ended: then the answer is on its way
		t := time.NewTimer(lastAnswer)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		}
	}
	cancel()
	<-done
}
