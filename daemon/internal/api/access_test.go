package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// registered lists every method that is served.
func registered(h *host) []string {
	server := grpc.NewServer()
	h.services().Register(server)
	var list []string
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			list = append(list, "/"+service+"/"+m.Name)
		}
	}
	slices.Sort(list)
	return list
}

func TestMethods_EachHasARoleAndNoRoleIsForNone(t *testing.T) {
	served, rows := registered(newHost(t)), auth.Methods()
	for _, m := range served {
		if _, ok := auth.RoleOf(m); !ok {
			t.Errorf("%s is served and has no role", m)
		}
	}
	for _, m := range rows {
		if !slices.Contains(served, m) {
			t.Errorf("%s has a role and is not served", m)
		}
	}
	for m := range early {
		if !slices.Contains(served, m) {
			t.Errorf("%s is answered early and is not served", m)
		}
	}
}

func TestCalls_NeedARole(t *testing.T) {
	h := newHost(t).open()
	h.apps.Set("web", testApp("web"))
	get := func(as auth.Peer) error {
		_, err := appsClient(t, h, as).GetApp(t.Context(), &roostv1.GetAppRequest{Name: "web"})
		return err
	}
	if err := get(operator); err != nil {
		t.Error(err)
	}
	for name, as := range map[string]auth.Peer{"a stranger": stranger, "a proxy": proxy} {
		if err := get(as); status.Code(err) != codes.PermissionDenied || reasonOf(err) != "PERMISSION_DENIED" {
			t.Errorf("%s: %v", name, err)
		}
	}
	stream, err := roostv1.NewRoutingServiceClient(h.dial(t, operator)).Watch(t.Context(), &roostv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an operator watches tokens: %v", err)
	}
}

func TestEnv_IsForAdmins(t *testing.T) {
	h := newHost(t).open()
	h.apps.Set("web", testApp("web"))
	for name, tt := range map[string]struct {
		as    auth.Peer
		shown bool
	}{"an admin": {root, true}, "an operator": {operator, false}} {
		client := appsClient(t, h, tt.as)
		get, err := client.GetApp(t.Context(), &roostv1.GetAppRequest{Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		list, err := client.ListApps(t.Context(), &roostv1.ListAppsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		history, err := client.ListGenerations(t.Context(), &roostv1.ListGenerationsRequest{Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		start, err := client.StartApp(t.Context(), &roostv1.StartAppRequest{Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := client.WatchApps(t.Context(), &roostv1.WatchAppsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		first, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for what, spec := range map[string]*roostv1.AppSpec{
			"get": get.App.Spec, "list": list.Apps[0].Spec, "start": start.App.Spec,
			"history": history.Generations[0].Spec, "watch": first.GetSnapshot().Apps[0].Spec,
		} {
			if shown := spec.Env["SECRET"] == "hunter2"; shown != tt.shown || shown == slices.Contains(spec.RedactedEnv, "SECRET") {
				t.Errorf("%s, %s: env %v, redacted %v", name, what, spec.Env, spec.RedactedEnv)
			}
		}
		if history.Generations[0].Number != 2 || !history.Generations[0].Desired || !history.Generations[1].Serving {
			t.Errorf("history %v", history)
		}
	}
}

func TestCalls_WaitUntilTheDaemonIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.apps.Set("web", testApp("web"))
		client := appsClient(t, h, operator)
		got := make(chan error, 1)
		go func() {
			_, err := client.GetApp(t.Context(), &roostv1.GetAppRequest{Name: "web"})
			got <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.ListApps(ctx, &roostv1.ListAppsRequest{}); status.Code(err) != codes.DeadlineExceeded && status.Code(err) != codes.Unavailable {
			t.Errorf("one that does not wait so long: %v", err)
		}
		if len(got) != 0 {
			t.Fatal("it did not wait")
		}
		h.open()
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

func TestCalls_EndWithADaemonThatNeverWasReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		client, got := appsClient(t, h, operator), make(chan error, 2)
		go func() {
			_, err := client.GetApp(t.Context(), &roostv1.GetAppRequest{Name: "web"})
			got <- err
		}()
		go func() {
			stream, err := client.WatchApps(t.Context(), &roostv1.WatchAppsRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			got <- err
		}()
		synctest.Wait()
		h.end()
		for range 2 {
			if err := <-got; status.Code(err) != codes.Unavailable || reasonOf(err) != "SHUTTING_DOWN" {
				t.Errorf("got %v, %s", err, reasonOf(err))
			}
		}
	})
}

func TestInfo_IsGivenWhileTheDaemonStarts(t *testing.T) {
	h := newHost(t)
	h.registry.Connect(app.Proxy{ID: "p1"}).Load(loadFrom(&roostv1.ProxyLoad{Complete: true}))
	info, err := roostv1.NewSystemServiceClient(h.dial(t, operator)).GetInfo(t.Context(), &roostv1.GetInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if info.Caller != "uid 1000" && info.Caller[:9] != "uid 1000 " || !slices.Equal(info.Roles, []string{"viewer", "operator"}) {
		t.Errorf("caller %q, roles %v", info.Caller, info.Roles)
	}
	if len(info.Proxies) != 1 || !info.Proxies[0].Connected || info.Epoch != epoch {
		t.Errorf("info %v", info)
	}
}

func TestShutdown_IsForAdmins(t *testing.T) {
	h := newHost(t)
	if _, err := roostv1.NewSystemServiceClient(h.dial(t, operator)).Shutdown(t.Context(), &roostv1.ShutdownRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an operator: %v", err)
	}
	resp, err := roostv1.NewSystemServiceClient(h.dial(t, root)).Shutdown(t.Context(), &roostv1.ShutdownRequest{Detach: true})
	if err != nil || len(resp.Lingering) != 1 || resp.Lingering[0].Instance != "i1" || resp.Stopped != 3 || resp.Left != 1 || !h.system.detach {
		t.Errorf("an admin: %v, %v, detach %v", resp, err, h.system.detach)
	}
}

func TestVerbs_NameTheirActor(t *testing.T) {
	h := newHost(t).open()
	h.apps.Set("web", testApp("web"))
	client, ctx := appsClient(t, h, root), t.Context()
	var errs []error
	call := func(_ any, err error) { errs = append(errs, err) }
	call(client.StartApp(ctx, &roostv1.StartAppRequest{Name: "web"}))
	call(client.StopApp(ctx, &roostv1.StopAppRequest{Name: "web"}))
	call(client.RecycleApp(ctx, &roostv1.RecycleAppRequest{Name: "web"}))
	call(client.SetAppOffline(ctx, &roostv1.SetAppOfflineRequest{Name: "web", Offline: true, Page: []byte("<p>")}))
	call(client.SetAppOffline(ctx, &roostv1.SetAppOfflineRequest{Name: "web", Offline: true}))
	call(client.SetAppOffline(ctx, &roostv1.SetAppOfflineRequest{Name: "web"}))
	call(client.ScaleApp(ctx, &roostv1.ScaleAppRequest{Name: "web", Instances: 2}))
	call(client.RollbackApp(ctx, &roostv1.RollbackAppRequest{Name: "web"}))
	call(client.DeleteApp(ctx, &roostv1.DeleteAppRequest{Name: "web", Etag: "e"}))
	call(roostv1.NewInstanceServiceClient(h.dial(t, root)).SignalInstance(ctx, &roostv1.SignalInstanceRequest{App: "web", Signal: "hup"}))
	for i, err := range errs {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	want := []string{
		"start web by uid 0 (root)", "stop web by uid 0 (root)", "recycle web by uid 0 (root)",
		`offline ("<p>", built in: false) web by uid 0 (root)`, `offline ("", built in: true) web by uid 0 (root)`, "online web by uid 0 (root)", "scale web by uid 0 (root)",
		"rollback web by uid 0 (root)", "delete web e by uid 0 (root)", "signal web SIGHUP by uid 0 (root)",
	}
	if !slices.Equal(h.calls, want) {
		t.Errorf("got %q", h.calls)
	}
}

func TestBadArguments(t *testing.T) {
	h := newHost(t).open()
	ctx, apps, instances := t.Context(), appsClient(t, h, root), roostv1.NewInstanceServiceClient(h.dial(t, root))
	_, rollback := apps.RollbackApp(ctx, &roostv1.RollbackAppRequest{Name: "web", Generation: -1})
	_, online := apps.SetAppOffline(ctx, &roostv1.SetAppOfflineRequest{Name: "web", Page: []byte("x")})
	_, signal := instances.SignalInstance(ctx, &roostv1.SignalInstanceRequest{App: "web", Signal: "SIGNOTHING"})
	_, get := apps.GetApp(ctx, &roostv1.GetAppRequest{Name: "web"})
	_, list := instances.ListInstances(ctx, &roostv1.ListInstancesRequest{App: "web"})
	_, one := instances.GetInstance(ctx, &roostv1.GetInstanceRequest{Id: "x"})
	for name, tt := range map[string]struct {
		err  error
		want codes.Code
	}{
		"a page to be online":         {online, codes.InvalidArgument},
		"a generation below 1":        {rollback, codes.InvalidArgument},
		"an unknown signal":           {signal, codes.InvalidArgument},
		"an unknown app":              {get, codes.NotFound},
		"instances of an unknown app": {list, codes.NotFound},
		"an unknown instance":         {one, codes.NotFound},
	} {
		if status.Code(tt.err) != tt.want {
			t.Errorf("%s: %v, want %v", name, tt.err, tt.want)
		}
	}
}

func TestListInstances_LiveOnesInOrder(t *testing.T) {
	h := newHost(t).open()
	h.apps.Set("a", testApp("a"))
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	for _, i := range []app.Instance{
		{ID: "new", App: "a", Phase: app.PhaseReady, StartTime: at(2)}, {ID: "old", App: "a", Phase: app.PhaseDraining, StartTime: at(1)},
		{ID: "other", App: "b", Phase: app.PhaseReady, StartTime: at(0)},
		{ID: "gone", App: "a", Phase: app.PhaseExited, Exit: &app.Exit{Signal: 9, Time: at(3)}, StartTime: at(0)},
	} {
		h.instances.Set(i.ID, i)
	}
	client := roostv1.NewInstanceServiceClient(h.dial(t, operator))
	for want, req := range map[string]*roostv1.ListInstancesRequest{
		"old new":            {App: "a"},
		"gone old new":       {App: "a", IncludeExited: true},
		"old new other":      {},
		"gone old new other": {IncludeExited: true},
	} {
		resp, err := client.ListInstances(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, i := range resp.Instances {
			got.WriteString(" " + i.Id)
			if i.Id == "gone" && i.Exit.GetSignal() != "SIGKILL" {
				t.Errorf("exit %v", i.Exit)
			}
		}
		if got.String() != " "+want {
			t.Errorf("%v: got%s, want %s", req, got.String(), want)
		}
	}
}

// Whoever probes a service by its name, as grpc_health_probe -service does, gets an answer.
func TestSetHealth_OfEveryService(t *testing.T) {
	server, h := grpc.NewServer(), health.NewServer()
	Services{
		Apps: &AppService{}, Instances: &InstanceService{}, Logs: &LogService{}, Events: &EventService{},
		Routing: &RoutingService{}, System: &SystemService{}, Health: h,
	}.Register(server)
	for _, want := range []healthv1.HealthCheckResponse_ServingStatus{
		healthv1.HealthCheckResponse_NOT_SERVING, healthv1.HealthCheckResponse_SERVING,
	} {
		SetHealth(h, want)
		for name := range server.GetServiceInfo() {
			if strings.HasPrefix(name, "grpc.") {
				continue
			}
			got, err := h.Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
			if err != nil || got.Status != want {
				t.Errorf("%s: %v, %v, want %v", name, got, err, want)
			}
		}
	}
}

func TestHealthAndReflection(t *testing.T) {
	h := newHost(t).open()
	conn := h.dial(t, operator)
	check, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || check.Status != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", check, err)
	}
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}); err != nil {
		t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil || len(m.GetListServicesResponse().GetService()) < 7 {
		t.Errorf("reflection: %v, %v", m, err)
	}
}
