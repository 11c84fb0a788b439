package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

const (
	// defaultInterval is the time between two loads that nothing hurries, until
	// the daemon names another; minInterval is the shortest it may name.
	defaultInterval = time.Second
	minInterval     = 100 * time.Millisecond
	// maxFailures bounds the failures that wait to be sent. More of them say
	// nothing new.
	maxFailures = 256
	// goodbyeTimeout bounds how long a daemon that does not listen delays the end.
	goodbyeTimeout = 2 * time.Second
)

// reportStream is one registration with the daemon.
type reportStream = grpc.BidiStreamingClient[roostv1.ReportRequest, roostv1.ReportResponse]

// reporter tells the daemon what the proxy has to do: changes that the daemon
// waits for at once, others every interval.
type reporter struct {
	link     *Link
	hello    *roostv1.ProxyHello
	log      hclog.Logger
	failures chan *roostv1.EndpointFailure
	interval atomic.Int64 // time.Duration

	hurry chan struct{} // holds one: urgent is not empty
	mu    sync.Mutex
	// urgent apps have a load that the daemon waits for.
	urgent map[string]bool
}

func newReporter(l *Link, c Config) *reporter {
	r := &reporter{
		link:     l,
		hello:    &roostv1.ProxyHello{ProxyId: c.State.ProxyID(), Version: c.Version},
		log:      c.Log,
		failures: make(chan *roostv1.EndpointFailure, maxFailures),
		hurry:    make(chan struct{}, 1),
		urgent:   map[string]bool{},
	}
	for _, listener := range c.Listeners {
		kind := roostv1.ListenerKind_LISTENER_KIND_HTTP
		if listener.TLS {
			kind = roostv1.ListenerKind_LISTENER_KIND_HTTPS
		}
		r.hello.Listeners = append(r.hello.Listeners, &roostv1.ProxyListener{Kind: kind, Port: int32(listener.Port)})
	}
	r.interval.Store(int64(defaultInterval))
	return r
}

// Failed tells the daemon how an instance failed a request. It never blocks; a
// failure that finds no place is dropped, there are plenty of them then.
func (l *Link) Failed(app, instance string, err error) {
	select {
	case l.reporter.failures <- &roostv1.EndpointFailure{
		App: app, Instance: instance, Kind: kindOf(err), Detail: err.Error(),
	}:
	default:
	}
}

func kindOf(err error) roostv1.FailureKind {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission): // a unix socket's too
		return roostv1.FailureKind_FAILURE_KIND_REFUSED
	case ok && timeout.Timeout():
		return roostv1.FailureKind_FAILURE_KIND_CONNECT_TIMEOUT
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return roostv1.FailureKind_FAILURE_KIND_RESET
	}
	return roostv1.FailureKind_FAILURE_KIND_PROTOCOL
}

// changed says that the daemon waits for an app's load. It never blocks.
func (r *reporter) changed(app string) {
	r.mu.Lock()
	r.urgent[app] = true
	r.mu.Unlock()
	select {
	case r.hurry <- struct{}{}:
	default:
	}
}

func (r *reporter) takeUrgent() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	urgent := r.urgent
	r.urgent = map[string]bool{}
	return urgent
}

// run reports until ctx ends, and then says goodbye.
func (r *reporter) run(ctx context.Context) error {
	var pause pauses
	for {
		registered, err := r.stream(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// That there is no daemon is said by the watch.
		r.log.Debug("report ended", "error", err)
		if registered {
			pause = pauses{}
		}
		if !sleep(ctx, pause.next()) {
			return nil
		}
	}
}

// stream is one registration, from hello to the stream's end, or to goodbye when
// ctx ends. It reports whether the daemon answered.
func (r *reporter) stream(ctx context.Context) (registered bool, err error) {
	// The stream outlives ctx, for the goodbye.
	live, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)

	s, err := r.link.client.Report(live)
	if err != nil {
		return false, err
	}
	if err := s.Send(&roostv1.ReportRequest{Message: &roostv1.ReportRequest_Hello{Hello: r.hello}}); err != nil {
		return false, err
	}
	var answered atomic.Bool
	var others sync.WaitGroup
	others.Go(func() { cancel(r.listen(s, &answered)) })
	others.Go(func() { giveUp(ctx, live, cancel) })
	err = r.send(ctx, live, s)
	if ctx.Err() == nil {
		cancel(err)
	}
	others.Wait() // after a goodbye: until the daemon has taken it
	if cause := context.Cause(live); err == nil && cause != nil {
		err = cause
	}
	return answered.Load(), err
}

// giveUp ends a stream that does not end by itself after ctx did.
func giveUp(ctx, live context.Context, cancel context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-live.Done():
		return
	}
	sleep(live, goodbyeTimeout)
	cancel(errors.New("the daemon did not take the goodbye in time"))
}

// listen takes the daemon's answers until the stream ends, and returns why.
func (r *reporter) listen(s reportStream, answered *atomic.Bool) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		answered.Store(true)
		if d := m.GetInterval().AsDuration(); d > 0 {
			r.interval.Store(int64(max(d, minInterval)))
		}
	}
}

// send is the one sender of a stream. It returns nil after a goodbye.
func (r *reporter) send(ctx, live context.Context, s reportStream) error {
	var sent loads
	if err := r.sendLoads(s, &sent, nil); err != nil {
		return err
	}
	tick := time.NewTimer(time.Duration(r.interval.Load()))
	defer tick.Stop()
	for {
		var err error
		select {
		case <-r.hurry:
			err = r.sendLoads(s, &sent, r.takeUrgent())
		case f := <-r.failures:
			err = s.Send(&roostv1.ReportRequest{Message: &roostv1.ReportRequest_Failure{Failure: f}})
		case <-tick.C:
			err = r.sendLoads(s, &sent, nil)
			tick.Reset(time.Duration(r.interval.Load()))
		case <-live.Done():
			return context.Cause(live)
		case <-ctx.Done():
			return r.sayGoodbye(s, &sent)
		}
		if err != nil {
			return streamError(live, err)
		}
	}
}

func (r *reporter) sendLoads(s reportStream, sent *loads, only map[string]bool) error {
	m := sent.next(r.link.view.loads(), only)
	if m == nil {
		return nil
	}
	return s.Send(&roostv1.ReportRequest{Message: &roostv1.ReportRequest_Load{Load: m}})
}

func (r *reporter) sayGoodbye(s reportStream, sent *loads) error {
	if err := r.sendLoads(s, sent, nil); err != nil {
		return err
	}
	goodbye := &roostv1.ReportRequest_Goodbye{Goodbye: &roostv1.ProxyGoodbye{}}
	if err := s.Send(&roostv1.ReportRequest{Message: goodbye}); err != nil {
		return fmt.Errorf("goodbye: %w", err)
	}
	return s.CloseSend()
}

// streamError is why a Send failed: it says EOF itself, the reason is with Recv.
func streamError(live context.Context, err error) error {
	if errors.Is(err, io.EOF) {
		<-live.Done()
		return context.Cause(live)
	}
	return err
}
