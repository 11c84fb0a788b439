package api

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/test/bufconn"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	"github.com/roostd/roost/daemon/internal/endpoint"
	"github.com/roostd/roost/daemon/internal/logs"
	"github.com/roostd/roost/daemon/internal/supervisor"
	"github.com/roostd/roost/daemon/internal/watch"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	epoch     = 7
	operators = 500
	proxies   = 501
)

// The callers of tests. Pid 0 is of another pid namespace: nobody looks for it.
var (
	root     = auth.Peer{UID: 0}
	operator = auth.Peer{UID: 1000, GID: operators}
	proxy    = auth.Peer{UID: 1001, GID: proxies}
	stranger = auth.Peer{UID: 1002, GID: 1002}
)

// host is everything the services need, as fakes, and a server of them.
type host struct {
	*fakeSupervisor
	registry *endpoint.Registry
	logs     *fakeLogs
	system   *fakeSystem
	log      *syncBuffer
	ready    chan struct{}
	end      context.CancelFunc
	listener *bufconn.Listener
}

// newHost serves all services, in memory. The supervisor and the registry are
// ready, unless a test replaces their channels before the first call.
func newHost(t *testing.T) *host {
	t.Helper()
	ending, end := context.WithCancel(context.Background())
	h := &host{
		fakeSupervisor: newFakeSupervisor(), logs: &fakeLogs{}, system: &fakeSystem{},
		log: &syncBuffer{}, ready: make(chan struct{}), end: end, listener: bufconn.Listen(1 << 16),
	}
	var err error
	if h.registry, err = endpoint.New(epoch, noStore{}, noRecorder{}, noProcesses{}, hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	log := hclog.New(&hclog.LoggerOptions{Output: h.log, Level: hclog.Debug})
	guard := auth.Guard{
		Policy: auth.Policy{UID: 999, ProxyGroup: "roost-proxy", GroupID: groupID},
		Owner:  func(context.Context, int) (app.InstanceID, error) { return "", nil }, Log: log,
	}
	options := append(rpc.ServerOptions(), grpc.Creds(serverSide{insecure.NewCredentials()}))
	server := grpc.NewServer(append(options, Interceptors(ending, guard, h.ready, log)...)...)
	h.services().Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(h.listener) }()
	t.Cleanup(func() {
		end()
		server.Stop()
		<-served
	})
	return h
}

func (h *host) services() Services {
	return Services{
		Apps:      &AppService{Apps: h, Epoch: epoch},
		Instances: &InstanceService{Instances: h, InFlight: h.registry, Epoch: epoch},
		Logs:      &LogService{Apps: h, Logs: h.logs},
		Events:    &EventService{Events: h.logs},
		Routing:   &RoutingService{Activator: h, Endpoints: h.registry},
		System:    &SystemService{System: h.system, Proxies: h.registry},
		Health:    health.NewServer(),
	}
}

func groupID(name string) (uint32, bool) {
	gid, ok := map[string]uint32{auth.OperatorGroup: operators, "roost-proxy": proxies}[name]
	return gid, ok
}

// dial connects as a peer.
func (h *host) dial(t *testing.T, as auth.Peer) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///test",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := h.listener.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			// The first bytes say who it is: a memory pipe has no peer credentials.
			_, err = conn.Write([]byte{byte(as.UID >> 8), byte(as.UID), byte(as.GID >> 8), byte(as.GID)})
			return conn, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// open makes the daemon ready.
func (h *host) open() *host {
	close(h.ready)
	h.registry.Synced()
	return h
}

// serverSide believes what dial writes.
type serverSide struct {
	credentials.TransportCredentials
}

func (serverSide) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	who := make([]byte, 4)
	if _, err := conn.Read(who); err != nil {
		return nil, nil, err
	}
	return conn, auth.NewAuthInfo(auth.Peer{
		UID: uint32(who[0])<<8 | uint32(who[1]), GID: uint32(who[2])<<8 | uint32(who[3]),
	}), nil
}

func (c serverSide) Clone() credentials.TransportCredentials { return c }

// fakeSupervisor answers with what a test puts in.
type fakeSupervisor struct {
	apps      *watch.Hub[string, app.App]
	instances *watch.Hub[app.InstanceID, app.Instance]
	rollouts  *watch.Hub[string, app.Rollout]

	mu       sync.Mutex
	applied  []supervisor.ApplyRequest
	results  []supervisor.ApplyResult
	calls    []string // of the verbs, as "verb name argument actor"
	failures []string
	activate func(ctx context.Context, failed []app.InstanceID) (app.EndpointSet, error)
	err      error // of every write
}

func newFakeSupervisor() *fakeSupervisor {
	return &fakeSupervisor{
		apps:      watch.NewHub[string, app.App](),
		instances: watch.NewHub[app.InstanceID, app.Instance](),
		rollouts:  watch.NewHub[string, app.Rollout](),
	}
}

func (f *fakeSupervisor) Apps() *watch.Hub[string, app.App]                   { return f.apps }
func (f *fakeSupervisor) Instances() *watch.Hub[app.InstanceID, app.Instance] { return f.instances }
func (f *fakeSupervisor) Rollouts() *watch.Hub[string, app.Rollout]           { return f.rollouts }

func (f *fakeSupervisor) Apply(_ context.Context, r supervisor.ApplyRequest) ([]supervisor.ApplyResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = append(f.applied, r)
	return f.results, f.err
}

func (f *fakeSupervisor) note(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	return f.err
}

func (f *fakeSupervisor) Delete(_ context.Context, name, etag, actor string) (string, error) {
	return "r1", f.note("delete " + name + " " + etag + " by " + actor)
}

func (f *fakeSupervisor) verb(verb, name, actor string) (app.App, string, error) {
	err := f.note(verb + " " + name + " by " + actor)
	a, _ := f.apps.Get(name)
	return a, "r1", err
}

func (f *fakeSupervisor) Start(_ context.Context, name, actor string) (app.App, string, error) {
	return f.verb("start", name, actor)
}

func (f *fakeSupervisor) Stop(_ context.Context, name, actor string) (app.App, string, error) {
	return f.verb("stop", name, actor)
}

func (f *fakeSupervisor) Recycle(_ context.Context, name, actor string) (app.App, string, error) {
	return f.verb("recycle", name, actor)
}

func (f *fakeSupervisor) SetOffline(_ context.Context, name string, page *app.OfflinePage, actor string) (app.App, string, error) {
	what := "online"
	if page != nil {
		what = fmt.Sprintf("offline (%q, built in: %v)", page.Page, page.BuiltIn)
	}
	return f.verb(what, name, actor)
}

func (f *fakeSupervisor) Scale(_ context.Context, name string, _ int, actor string) (app.App, string, error) {
	return f.verb("scale", name, actor)
}

func (f *fakeSupervisor) Rollback(_ context.Context, name string, _ int64, actor string) (app.App, string, error) {
	return f.verb("rollback", name, actor)
}

func (f *fakeSupervisor) Generations(name string) ([]app.Generation, int64, int64, error) {
	a, ok := f.apps.Get(name)
	if !ok {
		return nil, 0, 0, app.Errorf(app.NotFound, app.ReasonAppNotFound, name, "app %q not found", name)
	}
	return a.Generations, a.Desired, a.Serving, nil
}

func (f *fakeSupervisor) Signal(_ context.Context, name string, id app.InstanceID, sig syscall.Signal, actor string) ([]app.InstanceID, error) {
	return []app.InstanceID{id}, f.note("signal " + name + " " + app.SignalName(sig) + " by " + actor)
}

func (f *fakeSupervisor) Activate(ctx context.Context, _ string, _, _ uint64, failed []app.InstanceID) (app.EndpointSet, error) {
	return f.activate(ctx, failed)
}

func (f *fakeSupervisor) Failure(name string, id app.InstanceID, kind, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, name+" "+string(id)+" "+kind+" "+detail)
}

// fakeLogs runs what a test gives it.
type fakeLogs struct {
	read   func(ctx context.Context, q logs.Query, to logs.Sink[[]logs.Entry]) error
	events func(ctx context.Context, q logs.EventQuery, to logs.Sink[logs.EventEntry]) error
}

func (f *fakeLogs) Read(ctx context.Context, q logs.Query, to logs.Sink[[]logs.Entry]) error {
	return f.read(ctx, q, to)
}

func (f *fakeLogs) ReadEvents(ctx context.Context, q logs.EventQuery, to logs.Sink[logs.EventEntry]) error {
	return f.events(ctx, q, to)
}

type fakeSystem struct{ detach bool }

func (*fakeSystem) Info(context.Context) Info { return Info{Version: "v1", PID: 5, Epoch: epoch} }

func (f *fakeSystem) Shutdown(_ context.Context, detach bool, _ string) (Outcome, error) {
	f.detach = detach
	return Outcome{Stopped: 3, Left: 1, Lingering: []app.Lingering{{App: "web", Instance: "i1", PIDs: []int{7}}}}, nil
}

type noStore struct{}

func (noStore) Proxies() ([]app.Proxy, error)               { return nil, nil }
func (noStore) SaveProxies(_ []app.Proxy, _ []string) error { return nil }

type noRecorder struct{}

func (noRecorder) Record(app.Event) {}

type noProcesses struct{}

func (noProcesses) StartTime(int) uint64 { return 0 }
func (noProcesses) Wait(ctx context.Context, _ int, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

// syncBuffer is a log that a test reads while the server writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// testApp is an app with a secret.
func testApp(name string) app.App {
	spec := app.Spec{Name: name, Command: []string{"./server"}, Dir: "/srv", Env: map[string]string{"SECRET": "hunter2"}}
	return app.App{
		Stored: app.Stored{
			Name: name, Desired: 2, Serving: 1,
			Generations: []app.Generation{
				{Number: 1, Spec: spec, ResolvedDir: "/srv/1"}, {Number: 2, Spec: spec, ResolvedDir: "/srv/2"},
			},
		},
		State: app.StateRunning, Ready: 1, Instances: 1,
	}
}

func appsClient(t *testing.T, h *host, as auth.Peer) roostv1.AppServiceClient {
	t.Helper()
	return roostv1.NewAppServiceClient(h.dial(t, as))
}
