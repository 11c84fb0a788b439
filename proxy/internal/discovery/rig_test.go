package discovery

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a link in a synctest bubble, and the place where its daemon listens.
type rig struct {
	*Link
	t    *testing.T
	dir  string
	stop func() // ends the link

	mu       sync.Mutex
	listener *bufconn.Listener // nil: nothing listens
}

// inBubble runs f with a link to d, which may be nil for no daemon.
func inBubble(t *testing.T, d *fakedaemon.Daemon, f func(t *testing.T, r *rig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, dir: dir}
		if d != nil {
			defer r.serve(d)()
		}
		r.start("boot")
		defer r.stop()
		f(t, r)
	})
}

// start makes and runs the link.
func (r *rig) start(bootID string) {
	r.t.Helper()
	state, err := OpenState(r.dir, bootID)
	if err != nil {
		r.t.Fatal(err)
	}
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		r.mu.Lock()
		l := r.listener
		r.mu.Unlock()
		if l == nil {
			return nil, errors.New("nothing listens")
		}
		return l.DialContext(ctx)
	})
	conn, err := grpc.NewClient("passthrough:///daemon", append(rpc.DialOptions(), dial)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Link = New(Config{
		Conn: conn, State: state, Log: hclog.NewNullLogger(), Version: "v1",
		Listeners: []Listener{{Port: 8080}, {TLS: true, Port: 8443}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	run := r.Run
	go func() { ended <- run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("Run = %v", err)
		}
		conn.Close()
		state.Close()
	})
}

// serve has d listen until the function that it returns is called.
func (r *rig) serve(d *fakedaemon.Daemon) (stop func()) {
	s := grpc.NewServer(rpc.ServerOptions()...)
	d.Register(s)
	l := bufconn.Listen(64 << 10)
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	return sync.OnceFunc(func() {
		r.mu.Lock()
		if r.listener == l {
			r.listener = nil
		}
		r.mu.Unlock()
		s.Stop()
		<-served
	})
}

// settle lets a second pass, which is enough for a reconnect.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (r *rig) isSynced() bool {
	select {
	case <-r.Synced():
		return true
	default:
		return false
	}
}

// lookup returns the app that a request is routed to, "" for none.
func (r *rig) lookup(host, path string) string {
	e, ok := r.Routes().Load().Lookup([]byte(host), []byte(path))
	if !ok {
		return ""
	}
	return e.Target.Name()
}

// acquire returns the instance that a request to app would be sent to, "" for none.
func (r *rig) acquire(app string) string {
	p := r.Registry().Get(app)
	if p == nil {
		return ""
	}
	lease, ok := p.Acquire(nil)
	if !ok {
		return ""
	}
	defer lease.Release()
	return lease.Endpoint().Instance
}

// set is an app's, at the route of its name's host.
func set(app string, revision uint64, instances ...string) *roostv1.EndpointSet {
	s := &roostv1.EndpointSet{App: app, Revision: revision, Routes: []*roostv1.Route{{Host: app, Path: "/"}}}
	for _, id := range instances {
		s.Endpoints = append(s.Endpoints, &roostv1.Endpoint{Instance: id, Address: "127.0.0.1:1", Token: "secret-" + id})
	}
	return s
}

var _ Conn = (*grpc.ClientConn)(nil)

// drained is s with its endpoints draining.
func drained(s *roostv1.EndpointSet) *roostv1.EndpointSet {
	for _, e := range s.Endpoints {
		e.Draining = true
	}
	return s
}

func loadOf(r *Link, app string) backend.Load { return r.Registry().Get(app).Load() }
