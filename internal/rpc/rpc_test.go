package rpc

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer() *grpc.Server {
	s := grpc.NewServer(ServerOptions()...)
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s
}

func TestDial_CallsAServerOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	l := listen(t, path)
	go func() { served <- Serve(ctx, newServer(), l, time.Second) }()

	conn, err := Dial("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("Check = %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil after its context ended", err)
	}
}

func TestDial_RefusesWhatIsNoSocket(t *testing.T) {
	if conn, err := Dial("localhost:7070"); err == nil {
		conn.Close()
		t.Error("Dial took an address that is no socket")
	}
}

// callAndExplain returns what a user is told of a call to the daemon at path.
func callAndExplain(t *testing.T, path string) error {
	t.Helper()
	conn, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	return Explain(path, err)
}

func TestExplain_MissingSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roostd.sock")
	err := callAndExplain(t, path)
	unreachable, ok := errors.AsType[*UnreachableError](err)
	if !ok || unreachable.Socket != path || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %v, want an UnreachableError about %s", err, path)
	}
	if got := err.Error(); strings.Count(got, path) != 1 || !strings.Contains(got, "start roostd") {
		t.Errorf("message %q, want the socket once and what to do", got)
	}
}

func TestExplain_SocketOfADeadDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roostd.sock")
	l := listen(t, path)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := callAndExplain(t, path); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "start roostd again") {
		t.Errorf("error %v, want connection refused and what to do", err)
	}
}

func TestExplain_LeavesOtherErrorsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roostd.sock")
	listen(t, path)
	for _, err := range []error{
		nil,
		os.ErrClosed,
		status.Error(codes.NotFound, "no such app"),
		status.Error(codes.Unavailable, "the daemon that listens says so"),
	} {
		if got := Explain(path, err); got != err {
			t.Errorf("Explain(%v) = %v", err, got)
		}
	}
}

func TestServe_CutsAWatchOnlyAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const grace = 5 * time.Second
		l := bufconn.Listen(1 << 16)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- Serve(ctx, newServer(), l, grace) }()

		conn := dialBuf(t, l)
		defer conn.Close()
		watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		cancel()
		if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the watch ended with %v, want Unavailable", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if got := time.Since(start); got != grace {
			t.Errorf("Serve took %v, want the grace of %v", got, grace)
		}
	})
}

// The server's own limit on pings must not cut off its own clients.
func TestKeepalive_IdleClientStaysConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 16)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- Serve(ctx, newServer(), l, time.Second) }()

		conn := dialBuf(t, l)
		defer conn.Close()
		watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		lost := make(chan error, 1)
		go func() { _, err := watch.Recv(); lost <- err }()
		select {
		case err := <-lost:
			t.Errorf("the idle watch was cut: %v", err)
		case <-time.After(time.Hour):
		}
		cancel()
		<-served
		<-lost
	})
}

func TestServe_EndedBeforeItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, newServer(), bufconn.Listen(1), time.Second); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestServe_BrokenListenerIsAnError(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "s"))
	l.Close()
	if err := Serve(t.Context(), newServer(), l, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want %v", err, net.ErrClosed)
	}
}

func dialBuf(t *testing.T, l *bufconn.Listener) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:buf", append(DialOptions(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
