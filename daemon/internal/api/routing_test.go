package api

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/app"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func webSet(detailed bool) app.EndpointSet {
	return app.EndpointSet{
		App: "web", DetailedErrors: detailed, Drain: time.Minute,
		Endpoints: []app.Endpoint{{Instance: "i1", Generation: 3, Address: "127.0.0.1:20001", Token: "t0k3n"}},
		Routes:    []app.Route{{Host: "web.test", Path: "/a", StripPath: true}},
		Requests: app.Requests{
			Timeout: new(time.Minute), Queue: new(5), QueueTimeout: new(time.Second), MaxBody: 9, WebSockets: app.WebSocketsClose,
		},
	}
}

func TestRoutingWatch_HeartbeatsUntilSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.registry.Publish(webSet(true))
		stream, err := roostv1.NewRoutingServiceClient(h.dial(t, proxy)).Watch(t.Context(), &roostv1.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for beat := range 3 {
			m, err := stream.Recv()
			if err != nil || m.GetHeartbeat() == nil || time.Since(start) != time.Duration(beat)*heartbeatEvery {
				t.Fatalf("after %v: %v, %v", time.Since(start), m, err)
			}
		}
		h.open()
		m, err := stream.Recv()
		if err != nil || m.GetSnapshot().GetEpoch() != epoch || !m.GetSnapshot().GetLastChunk() {
			t.Fatalf("once it is synced: %v, %v", m, err)
		}
		set := m.GetSnapshot().GetSets()[0]
		e, r := set.Endpoints[0], set.Requests
		if set.App != "web" || set.Epoch != epoch || set.Revision != 1 || !set.Routes[0].StripPath ||
			e.Instance != "i1" || e.Token != "t0k3n" || e.Address != "127.0.0.1:20001" || e.Generation != 3 || e.Draining {
			t.Errorf("set %v", set)
		}
		if r.Timeout.AsDuration() != time.Minute || r.Queue != 5 || r.QueueTimeout.AsDuration() != time.Second || r.MaxBody != 9 ||
			r.Websockets != roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_CLOSE || !r.DetailedErrors {
			t.Errorf("requests %v", r)
		}
		h.registry.Publish(webSet(true))
		if m, err := stream.Recv(); err != nil || m.GetDelta().GetUpserts()[0].Revision != 2 {
			t.Errorf("then %v, %v", m, err)
		}
		h.registry.Remove("web")
		if m, err := stream.Recv(); err != nil || !slices.Equal(m.GetDelta().GetRemoved(), []string{"web"}) {
			t.Errorf("then %v, %v", m, err)
		}
	})
}

func TestActivate_AnswersWithTheSetOfTheWatch(t *testing.T) {
	h := newHost(t).open()
	var asked []app.InstanceID
	h.activate = func(_ context.Context, failed []app.InstanceID) (app.EndpointSet, error) {
		asked = failed
		h.registry.Publish(webSet(false))
		set, _ := h.registry.Current("web")
		return set, nil
	}
	resp, err := roostv1.NewRoutingServiceClient(h.dial(t, proxy)).Activate(t.Context(), &roostv1.ActivateRequest{
		App: "web", FailedInstances: []string{"i0"},
	})
	if err != nil || resp.Set.Revision != 1 || resp.Set.Epoch != epoch || len(resp.Set.Endpoints) != 1 {
		t.Errorf("got %v, %v", resp, err)
	}
	if !slices.Equal(asked, []app.InstanceID{"i0"}) {
		t.Errorf("failed instances %v", asked)
	}
}

func TestActivate_ARefusalNamesItsEpochAndRevision(t *testing.T) {
	for name, detailed := range map[string]bool{"in production": false, "in development": true} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t).open()
			h.registry.Publish(webSet(detailed))
			h.activate = func(context.Context, []app.InstanceID) (app.EndpointSet, error) {
				return app.EndpointSet{}, &app.Fault{
					Kind: app.Unavailable, Reason: app.ReasonStartFailed, App: "web", Message: "it exited",
					Detail: "panic: oops", Revision: 1, RetryTime: time.Now().Add(time.Minute),
				}
			}
			_, err := roostv1.NewRoutingServiceClient(h.dial(t, proxy)).Activate(t.Context(), &roostv1.ActivateRequest{App: "web"})
			info, _ := detail[*errdetails.ErrorInfo](err)
			if status.Code(err) != codes.Unavailable || info.GetReason() != "START_FAILED" ||
				info.GetMetadata()["epoch"] != "7" || info.GetMetadata()["revision"] != "1" {
				t.Errorf("got %v, %v", err, info)
			}
			want := ""
			if detailed {
				want = "panic: oops"
			}
			if got := info.GetMetadata()["detail"]; got != want {
				t.Errorf("detail %q, want %q", got, want)
			}
			if _, ok := detail[*errdetails.RetryInfo](err); !ok {
				t.Error("no RetryInfo")
			}
		})
	}
}

// report opens a report stream.
func report(t *testing.T, ctx context.Context, h *host) grpc.BidiStreamingClient[roostv1.ReportRequest, roostv1.ReportResponse] { //nolint:revive // t is first in helpers
	t.Helper()
	stream, err := roostv1.NewRoutingServiceClient(h.dial(t, proxy)).Report(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func hello(id string) *roostv1.ReportRequest {
	return &roostv1.ReportRequest{Message: &roostv1.ReportRequest_Hello{Hello: &roostv1.ProxyHello{
		ProxyId: id, Version: "v1",
		Listeners: []*roostv1.ProxyListener{{Kind: roostv1.ListenerKind_LISTENER_KIND_HTTPS, Port: 443}},
	}}}
}

func TestReport_RegistersAProxyForItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		ctx, cancel := context.WithCancel(t.Context())
		stream := report(t, ctx, h)
		send := func(m *roostv1.ReportRequest) {
			t.Helper()
			if err := stream.Send(m); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		send(hello("p1"))
		start := time.Now()
		if m, err := stream.Recv(); err != nil || m.GetInterval().AsDuration() != loadEvery {
			t.Fatalf("the answer to the hello: %v, %v", m, err)
		}
		p := h.registry.Proxies()
		if len(p) != 1 || p[0].ID != "p1" || !p[0].Connected || p[0].Version != "v1" || !p[0].Listeners[0].TLS || p[0].Listeners[0].Port != 443 {
			t.Fatalf("proxies %+v", p)
		}
		send(&roostv1.ReportRequest{Message: &roostv1.ReportRequest_Load{Load: &roostv1.ProxyLoad{
			Complete: true, Loads: []*roostv1.AppLoad{{
				App: "web", Epoch: epoch, Revision: 1, InFlight: 2, Instances: []*roostv1.InstanceLoad{{Instance: "i1", InFlight: 2}},
			}},
		}}})
		if n := h.registry.InFlight("web", "i1"); n != 2 {
			t.Errorf("in flight %d, want 2", n)
		}
		send(&roostv1.ReportRequest{Message: &roostv1.ReportRequest_Failure{Failure: &roostv1.EndpointFailure{
			App: "web", Instance: "i1", Kind: roostv1.FailureKind_FAILURE_KIND_RESET, Detail: "after 3 bytes",
		}}})
		if !slices.Equal(h.failures, []string{"web i1 reset after 3 bytes"}) {
			t.Errorf("failures %q", h.failures)
		}
		if _, err := stream.Recv(); err != nil || time.Since(start) != heartbeatEvery {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		cancel()
		synctest.Wait()
		if p := h.registry.Proxies(); len(p) != 1 || p[0].Connected {
			t.Errorf("after it was cut: %+v", p)
		}
	})
}

func TestReport_Goodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		stream := report(t, t.Context(), h)
		if err := stream.Send(hello("p1")); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&roostv1.ReportRequest{Message: &roostv1.ReportRequest_Goodbye{Goodbye: &roostv1.ProxyGoodbye{}}}); err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		if _, err := stream.Recv(); err == nil {
			t.Error("the stream goes on")
		}
		if p := h.registry.Proxies(); len(p) != 0 {
			t.Errorf("proxies %+v", p)
		}
	})
}

func TestReport_WithoutAHelloIsRefused(t *testing.T) {
	h := newHost(t)
	for name, m := range map[string]*roostv1.ReportRequest{
		"a load first": {Message: &roostv1.ReportRequest_Load{Load: &roostv1.ProxyLoad{}}},
		"no id":        hello(""),
		"a long id":    hello(string(make([]byte, 1000))),
	} {
		stream := report(t, t.Context(), h)
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
