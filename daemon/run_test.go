package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
)

// testConfig is that of a daemon in a folder of the test's own, whose program is
// the test binary.
func testConfig(t *testing.T) config {
	t.Helper()
	dir, err := os.MkdirTemp("", "roostd") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "roostd")
	if err := os.Symlink(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "roost-exec"), "./exec")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return config{
		socket: filepath.Join(dir, "run", "s"), stateDir: filepath.Join(dir, "state"), logDir: filepath.Join(dir, "state", "logs"),
		portLow: 20000, portHigh: 29999, appUser: "nobody", proxyGroup: "roost-proxy", startParallelism: 2,
		uid: os.Getuid(), gid: os.Getgid(), env: map[string]string{"PATH": os.Getenv("PATH")}, program: program, version: buildVersion(),
		hurry: make(chan struct{}), notify: func(string) {}, log: hclog.NewNullLogger(), logLevel: "info", logFormat: "text",
	}
}

// running is a daemon that runs in this process.
type running struct {
	apps      roostv1.AppServiceClient
	instances roostv1.InstanceServiceClient
	system    roostv1.SystemServiceClient
	stop      context.CancelCauseFunc
	ended     <-chan error
}

func start(t *testing.T, cfg config) *running {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg) }()
	conn, err := rpc.Dial("unix://"+cfg.socket, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &running{
		apps: roostv1.NewAppServiceClient(conn), instances: roostv1.NewInstanceServiceClient(conn),
		system: roostv1.NewSystemServiceClient(conn), stop: stop, ended: ended,
	}
}

// worker is the spec of a process that only sleeps.
func worker(t *testing.T) *roostv1.AppSpec {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil { // for nobody
		t.Fatal(err)
	}
	return &roostv1.AppSpec{
		Name: "worker", Dir: dir, Command: []string{"sleep", "600"}, Listen: &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE},
		Recycle: &roostv1.Recycle{MinReady: durationpb.New(0)},
	}
}

// apply applies a spec, waits for its rollout and returns the pid that runs.
func (r *running) apply(t *testing.T, spec *roostv1.AppSpec) int {
	t.Helper()
	resp, err := r.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := r.apps.WatchRollout(t.Context(), &roostv1.WatchRolloutRequest{RolloutId: resp.Results[0].RolloutId})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return r.pid(t)
		}
		if err != nil || m.Rollout.Phase == roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED {
			t.Fatalf("rollout %v, %v", m, err)
		}
	}
}

func (r *running) pid(t *testing.T) int {
	t.Helper()
	resp, err := r.instances.ListInstances(t.Context(), &roostv1.ListInstancesRequest{App: "worker"})
	if err != nil || len(resp.Instances) != 1 {
		t.Fatalf("instances %v, %v", resp, err)
	}
	return int(resp.Instances[0].Pid)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestRun_AnEndedDaemonLeavesNothing(t *testing.T) {
	cfg := testConfig(t)
	d := start(t, cfg)
	pid := d.apply(t, worker(t))
	info, err := d.system.GetInfo(t.Context(), &roostv1.GetInfoRequest{})
	if err != nil || info.Epoch != 1 || int(info.Pid) != os.Getpid() || info.KeeperPid == 0 || len(info.Abilities) == 0 {
		t.Errorf("info %v, %v", info, err)
	}
	d.stop(errors.New("the test is over"))
	if err := <-d.ended; err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("the app is left")
	}
	if data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", info.KeeperPid)); len(data) > 0 {
		t.Error("the keeper is left")
	}
	if _, err := os.Lstat(cfg.socket); err == nil {
		t.Error("the socket is left")
	}
}

func TestRun_ADetachedAppIsFoundAgain(t *testing.T) {
	cfg := testConfig(t)
	cfg.detachOnExit = true
	d := start(t, cfg)
	pid := d.apply(t, worker(t))
	d.stop(errors.New("a restart"))
	if err := <-d.ended; err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("the app is gone")
	}
	d = start(t, cfg)
	if again := d.pid(t); again != pid {
		t.Errorf("pid %d became %d", pid, again)
	}
	resp, err := d.system.Shutdown(t.Context(), &roostv1.ShutdownRequest{})
	if err != nil || resp.Stopped != 1 || resp.Left != 0 {
		t.Errorf("shutdown: %v, %v", resp, err)
	}
	if err := <-d.ended; err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("the app is left")
	}
}

func TestRun_ASecondSignalKillsAtOnce(t *testing.T) {
	cfg := testConfig(t)
	hurry := make(chan struct{})
	cfg.hurry = hurry
	d := start(t, cfg)
	spec := worker(t)
	spec.Command = []string{"sh", "-c", `trap "" TERM; while :; do sleep 1; done`}
	spec.Stop = &roostv1.Stop{Signal: "SIGWINCH"} // and 10 seconds until it is killed
	pid := d.apply(t, spec)
	d.stop(errors.New("the first one"))
	for {
		_, err := d.apps.StartApp(t.Context(), &roostv1.StartAppRequest{Name: "worker"})
		if status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "shutting down") {
			break // writes are refused: it is stopping
		}
	}
	close(hurry)
	if err := <-d.ended; err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("the app is left")
	}
}

func TestRun_WithoutRoostExecIsRefused(t *testing.T) {
	cfg := testConfig(t)
	if err := os.Remove(filepath.Join(filepath.Dir(cfg.program), "roost-exec")); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "roost-exec") {
		t.Errorf("got %v", err)
	}
}
