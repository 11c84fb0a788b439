// Package fakedaemon is a daemon for tests of the proxy: it knows what it is told,
// starts nothing, and remembers what proxies report.
package fakedaemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Daemon implements RoutingService.
type Daemon struct {
	roostv1.UnimplementedRoutingServiceServer

	// Epoch is put into sets that have none.
	Epoch uint64
	// OnActivate answers Activate. Nil: with the app's set as it is.
	OnActivate func(context.Context, *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error)

	mu       sync.Mutex
	sets     map[string]*roostv1.EndpointSet
	held     bool // no snapshots
	watchers map[chan *roostv1.WatchResponse]bool
	asked    []*roostv1.ActivateRequest
	reports  []*roostv1.ReportRequest
	news     chan struct{} // closed when reports grows
}

// New returns a daemon of epoch that knows sets.
func New(epoch uint64, sets ...*roostv1.EndpointSet) *Daemon {
	d := &Daemon{
		Epoch: epoch, sets: map[string]*roostv1.EndpointSet{},
		watchers: map[chan *roostv1.WatchResponse]bool{}, news: make(chan struct{}),
	}
	for _, s := range sets {
		s.Epoch = epoch
		d.sets[s.GetApp()] = s
	}
	return d
}

// Register adds the daemon to a server.
func (d *Daemon) Register(s grpc.ServiceRegistrar) { roostv1.RegisterRoutingServiceServer(s, d) }

// Hold has new watches get no snapshot, as of a daemon that does not know its
// instances yet.
func (d *Daemon) Hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = true
}

// Release ends Hold.
func (d *Daemon) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = false
	for w := range d.watchers {
		for _, m := range d.snapshot() {
			w <- m
		}
	}
}

// Publish makes s its app's set and tells the watches.
func (d *Daemon) Publish(s *roostv1.EndpointSet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.GetEpoch() == 0 {
		s.Epoch = d.Epoch
	}
	d.sets[s.GetApp()] = s
	d.tell(&roostv1.EndpointsDelta{Upserts: []*roostv1.EndpointSet{s}})
}

// Remove forgets an app and tells the watches.
func (d *Daemon) Remove(app string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sets, app)
	d.tell(&roostv1.EndpointsDelta{Removed: []string{app}})
}

func (d *Daemon) tell(delta *roostv1.EndpointsDelta) {
	if d.held {
		return
	}
	for w := range d.watchers {
		w <- &roostv1.WatchResponse{Message: &roostv1.WatchResponse_Delta{Delta: delta}}
	}
}

// Heartbeat sends one to every watch.
func (d *Daemon) Heartbeat() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.watchers {
		w <- heartbeat()
	}
}

func heartbeat() *roostv1.WatchResponse {
	return &roostv1.WatchResponse{Message: &roostv1.WatchResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}}
}

// snapshot has a set a chunk, and the last chunk empty. The caller holds mu.
func (d *Daemon) snapshot() []*roostv1.WatchResponse {
	var chunks []*roostv1.WatchResponse
	add := func(s *roostv1.EndpointsSnapshot) {
		s.Epoch = d.Epoch
		chunks = append(chunks, &roostv1.WatchResponse{Message: &roostv1.WatchResponse_Snapshot{Snapshot: s}})
	}
	for _, s := range d.sets {
		add(&roostv1.EndpointsSnapshot{Sets: []*roostv1.EndpointSet{s}})
	}
	add(&roostv1.EndpointsSnapshot{LastChunk: true})
	return chunks
}

// Watch implements RoutingService.
func (d *Daemon) Watch(_ *roostv1.WatchRequest, s grpc.ServerStreamingServer[roostv1.WatchResponse]) error {
	mail := make(chan *roostv1.WatchResponse, 1000)
	d.mu.Lock()
	d.watchers[mail] = true
	if d.held {
		mail <- heartbeat()
	} else {
		for _, m := range d.snapshot() {
			mail <- m
		}
	}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, mail)
	}()
	for {
		select {
		case m := <-mail:
			if err := s.Send(m); err != nil {
				return err
			}
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

// Activate implements RoutingService.
func (d *Daemon) Activate(ctx context.Context, r *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
	d.mu.Lock()
	d.asked = append(d.asked, r)
	set := d.sets[r.GetApp()]
	d.mu.Unlock()
	if d.OnActivate != nil {
		return d.OnActivate(ctx, r)
	}
	if set == nil {
		return nil, status.Error(codes.NotFound, "no such app")
	}
	return &roostv1.ActivateResponse{Set: set}, nil
}

// Asked returns the calls of Activate so far.
func (d *Daemon) Asked() []*roostv1.ActivateRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

// Report implements RoutingService.
func (d *Daemon) Report(s grpc.BidiStreamingServer[roostv1.ReportRequest, roostv1.ReportResponse]) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.reports = append(d.reports, m)
		close(d.news)
		d.news = make(chan struct{})
		d.mu.Unlock()
		switch m.GetMessage().(type) {
		case *roostv1.ReportRequest_Hello:
			if err := s.Send(&roostv1.ReportResponse{Interval: durationpb.New(time.Second)}); err != nil {
				return err
			}
		case *roostv1.ReportRequest_Goodbye:
			return nil
		}
	}
}

// Reports returns all that proxies have reported.
func (d *Daemon) Reports() []*roostv1.ReportRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.reports)
}

// Await returns the first report, from the from-th on, that ok accepts, and how
// many there were up to it; nil if ctx ends before.
func (d *Daemon) Await(ctx context.Context, from int, ok func(*roostv1.ReportRequest) bool) (*roostv1.ReportRequest, int) {
	for {
		d.mu.Lock()
		reports, news := d.reports, d.news
		d.mu.Unlock()
		for ; from < len(reports); from++ {
			if ok(reports[from]) {
				return reports[from], from + 1
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, from
		}
	}
}

// Refusal is the error of an Activate that the daemon refuses.
func Refusal(code codes.Code, reason string, retry time.Duration, metadata map[string]string) error {
	details := []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: reason, Domain: "roost", Metadata: metadata},
	}
	if retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	s, err := status.New(code, "refused").WithDetails(details...)
	if err != nil {
		return err
	}
	return s.Err()
}
