package api

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	"github.com/roostd/roost/daemon/internal/endpoint"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// loadEvery is how often a proxy tells loads that nothing hurries.
const loadEvery = time.Second

// maxProxyID bounds a proxy's name for itself: it is stored.
const maxProxyID = 128

// reports is the stream of one proxy.
type reports = grpc.BidiStreamingServer[roostv1.ReportRequest, roostv1.ReportResponse]

// Report takes a proxy's load, acknowledgements and failures. It answers the
// hello, and says that it lives from time to time.
func (s *RoutingService) Report(stream reports) error {
	hello, err := receiveHello(stream)
	if errors.Is(err, io.EOF) {
		return nil // it changed its mind
	}
	if err != nil {
		return err
	}
	session := s.Endpoints.Connect(proxyFrom(hello, auth.From(stream.Context()).Peer.PID))
	defer session.Close()

	// The receiver ends with the stream, which ends when this returns.
	received := make(chan error, 1)
	go func() { received <- s.receive(stream, session) }()
	answer := &roostv1.ReportResponse{Interval: durationpb.New(loadEvery)}
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		if err := stream.Send(answer); err != nil {
			return err
		}
		select {
		case err := <-received:
			return err
		case <-beat.C:
		case <-stream.Context().Done():
			return context.Cause(stream.Context())
		}
	}
}

func receiveHello(stream reports) (*roostv1.ProxyHello, error) {
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if id := m.GetHello().GetProxyId(); id == "" || len(id) > maxProxyID {
		return nil, app.Errorf(app.Invalid, app.ReasonInvalidArgument, "",
			"the first message of a report names the proxy: send hello with a proxy_id of at most %d bytes", maxProxyID)
	}
	return m.GetHello(), nil
}

// receive takes messages until the proxy has said goodbye or is gone.
func (s *RoutingService) receive(stream reports, session *endpoint.Session) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch m := m.GetMessage().(type) {
		case *roostv1.ReportRequest_Load:
			session.Load(loadFrom(m.Load))
		case *roostv1.ReportRequest_Failure:
			f := m.Failure
			s.Activator.Failure(f.GetApp(), app.InstanceID(f.GetInstance()), failureKinds[f.GetKind()], f.GetDetail())
		case *roostv1.ReportRequest_Goodbye:
			session.Goodbye()
			return nil
		}
	}
}

func proxyFrom(h *roostv1.ProxyHello, pid int) app.Proxy {
	p := app.Proxy{ID: h.GetProxyId(), Version: h.GetVersion(), PID: pid}
	for _, l := range h.GetListeners() {
		p.Listeners = append(p.Listeners, app.ProxyListener{
			TLS: l.GetKind() == roostv1.ListenerKind_LISTENER_KIND_HTTPS, Port: int(l.GetPort()),
		})
	}
	return p
}

func loadFrom(p *roostv1.ProxyLoad) endpoint.Load {
	l := endpoint.Load{Complete: p.GetComplete(), Removed: p.GetRemovedApps()}
	for _, a := range p.GetLoads() {
		load := endpoint.AppLoad{
			App: a.GetApp(), Epoch: a.GetEpoch(), Revision: a.GetRevision(),
			InFlight: int(a.GetInFlight()), Queued: int(a.GetQueued()), Requests: a.GetRequests(),
			Instances: map[app.InstanceID]endpoint.InstanceLoad{},
		}
		for _, i := range a.GetInstances() {
			id := app.InstanceID(i.GetInstance())
			sum := load.Instances[id] // an app that was removed and is back has some of them twice
			sum.InFlight += int(i.GetInFlight())
			sum.Requests += i.GetRequests()
			load.Instances[id] = sum
		}
		l.Apps = append(l.Apps, load)
	}
	return l
}
