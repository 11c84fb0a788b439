package cli

import (
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
)

// slowRoutes is a daemon whose proxies take their time to have an app's routes.
type slowRoutes struct {
	roostv1.UnimplementedAppServiceServer
	watched chan string
	there   chan struct{}
}

func (d *slowRoutes) WatchRollout(req *roostv1.WatchRolloutRequest, s roostv1.AppService_WatchRolloutServer) error {
	d.watched <- req.GetRolloutId()
	<-d.there
	return s.Send(&roostv1.WatchRolloutResponse{Rollout: &roostv1.Rollout{Phase: roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE}})
}

// Up must not say where an app is before the proxy has its route: the first request
// would find none.
func TestUp_WaitsForTheRoutes(t *testing.T) {
	d := &slowRoutes{watched: make(chan string), there: make(chan struct{})}
	server := grpc.NewServer()
	roostv1.RegisterAppServiceServer(server, d)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { server.Stop(); <-served }()
	conn, err := rpc.Dial("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	route := []*roostv1.Route{{Path: "/"}}
	specs := []*roostv1.AppSpec{
		{Name: "boots", Routes: route, Start: &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}},
		{Name: "web", Routes: route},
		{Name: "worker", Listen: &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}},
	}
	resp := &roostv1.ApplyAppsResponse{Results: []*roostv1.ApplyResult{{RolloutId: "b"}, {RolloutId: "w"}, {RolloutId: "x"}}}
	s := &session{program: &program{conn: conn}}
	ended := make(chan error, 1)
	go func() { ended <- s.routed(t.Context(), specs, resp) }()
	if id := <-d.watched; id != "w" {
		t.Errorf("it waits for %q, want the app that a request starts", id)
	}
	select {
	case err := <-ended:
		t.Fatalf("it does not wait: %v", err)
	default:
	}
	close(d.there)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
