package keeper

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/keepertest"
	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// newOutsideFixture is a fixture whose keeper the client starts, as a process of
// its own.
func newOutsideFixture(t *testing.T, lane string) *fixture {
	t.Helper()
	f := &fixture{tb: t, keeper: newConfig(t, lane)}
	f.state = f.keeper.StateDir
	t.Cleanup(f.shutdown)
	f.stop = f.connect()
	return f
}

func (f *fixture) keeperPID() int {
	f.tb.Helper()
	if _, err := f.client.Recover(f.tb.Context()); err != nil { // once there is one
		f.tb.Fatal(err)
	}
	info, _ := f.client.Keeper()
	return info.PID
}

func TestClient_StartsAKeeperInASessionOfItsOwn(t *testing.T) {
	f := newOutsideFixture(t, "")
	pid := f.keeperPID()
	s, err := proc.ReadStat(pid)
	if err != nil || s.SID != pid {
		t.Errorf("keeper %+v, %v, want a session leader", s, err)
	}
	p := f.launch(f.spec("exit:4"))
	f.wait(p.Gone())
	if p.Exit().Code != 4 {
		t.Errorf("exit %+v, want code 4", p.Exit())
	}
}

// A daemon that was away finds its processes, learns what happened meanwhile and
// carries on.
func TestClient_RecoversAfterItsOwnEnd(t *testing.T) {
	f := newFixture(t, "")
	lives, dies := f.launch(f.spec("sleep")), f.launch(f.spec("sleep"))
	l := f.spec("sleep")
	l.Spec.Ready.Kind = app.ProbeNotify
	notifies := f.launch(l)
	f.stop()
	if err := syscall.Kill(dies.Info().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.connect()
	list, err := f.client.Recover(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("processes %v, %v, want three", list, err)
	}
	for _, p := range list {
		switch p.Info().PID {
		case lives.Info().PID:
			if isClosed(p.Exited()) || p.Info().Notes["note"] != "kept" || p.Info().Token != "secret-token" {
				t.Errorf("one that lives is %+v", p.Info())
			}
			if err := p.Exec(t.Context(), []string{"sh", "-c", `test -n "$ROOST_APP"`}, time.Minute); err != nil {
				t.Errorf("a probe of a recovered one: %v", err)
			}
		case dies.Info().PID:
			f.wait(p.Gone())
			if p.Exit().Signal != syscall.SIGTERM {
				t.Errorf("exit %+v, want SIGTERM", p.Exit())
			}
		case notifies.Info().PID:
			// Its socket is there again, and still hears only its own.
			conn, err := net.Dial("unixgram", filepath.Join(f.client.runDir(p.id), "notify"))
			if err != nil {
				t.Errorf("no notify socket after the daemon's restart: %v", err)
				continue
			}
			conn.Close()
		}
	}
}

// Records of another boot are history: their pids are others' now.
func TestKeeper_SignalsNothingForRecordsOfAnotherBoot(t *testing.T) {
	f := &fixture{tb: t, keeper: newConfig(t, "")}
	f.state = f.keeper.StateDir
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bystander := exec.Command(self)
	bystander.Env = []string{keepertest.Variable + "=sleep"}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	stat, err := proc.ReadStat(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	boot, _ := proc.BootID()
	for id, r := range map[string]*keeperv1.Record{
		"anotherboot": {BootId: "another", StartTicks: stat.StartTicks, Output: &keeperv1.Output{Fault: "full", Waits: true, DroppedBytes: 5}},
		"recycledpid": {BootId: boot, StartTicks: stat.StartTicks - 1},
	} {
		r.Instance, r.App, r.Pid, r.StartTime = id, "web", int32(bystander.Process.Pid), timestamppb.Now()
		if err := os.MkdirAll(instanceDir(f.state, id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := writeRecord(instanceDir(f.state, id), r); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(f.shutdown)
	f.connect()
	list, err := f.client.Recover(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("processes %v, %v, want two", list, err)
	}
	for _, p := range list {
		f.wait(p.Gone())
		if !p.Exit().Unknown {
			t.Errorf("%s: exit %+v, want unknown", p.id, p.Exit())
		}
		if o := p.Info().Output; o.Fault != "" || o.Waits {
			t.Errorf("%s: output %+v of one that cannot write", p.id, o)
		}
	}
	if !runs(strconv.Itoa(bystander.Process.Pid)) {
		t.Error("a bystander with a recycled pid was killed")
	}
	bystander.Process.Kill()
	bystander.Wait()
}

func TestKeeper_LeaksNoDescriptors(t *testing.T) {
	f := newFixture(t, "")
	round := func() {
		p := f.launch(f.spec("exit:0"))
		p.Exec(t.Context(), []string{"true"}, time.Minute)
		f.wait(p.Gone())
		if err := p.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := f.spec("")
		l.Spec.Command, l.Spec.Listen.Mode = []string{"/etc"}, app.ListenFD
		f.client.Launch(t.Context(), l)
		l.Spec.Command, l.Dir = []string{"/bin/true"}, "/no/such/folder"
		f.client.Launch(t.Context(), l)
	}
	round()
	before := descriptors(t)
	for range 10 {
		round()
	}
	// The last instance's goroutine ends after it is forgotten.
	f.await(func() bool { return descriptors(t) <= before })
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestKeeper_OneAStateDir(t *testing.T) {
	f := newFixture(t, "")
	err := Run(t.Context(), f.keeper)
	if err == nil || !strings.Contains(err.Error(), "another keeper") {
		t.Errorf("a second keeper: %v", err)
	}
}

func TestKeeper_EndsWhenNobodyNeedsIt(t *testing.T) {
	cfg := newConfig(t, "")
	cfg.Idle = 50 * time.Millisecond
	if err := Run(t.Context(), cfg); err != nil {
		t.Errorf("Run = %v, want its end after a while without anything to do", err)
	}
}

func TestKeeper_ShutdownWithoutKillWaitsForTheLastInstance(t *testing.T) {
	f := &fixture{tb: t, keeper: newConfig(t, "")}
	f.state = f.keeper.StateDir
	ended := make(chan error, 1)
	go func() { ended <- Run(context.Background(), f.keeper) }()
	f.await(func() bool { return try(t.Context(), socketPath(f.state)) == nil })
	stop := f.connect()
	p := f.launch(f.spec("sleep"))
	if err := f.client.Shutdown(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.Launch(t.Context(), f.spec("sleep")); err == nil || !strings.Contains(err.Error(), "ending") {
		t.Errorf("a launch while it is ending: %v", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended (%v) though an instance lives", err)
	default:
	}
	if err := p.Signal(t.Context(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.wait(p.Gone())
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// The same as anybody: no cgroup that may be written, no identity to change to.
func TestKeeper_WorksWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("every other test has shown it")
	}
	dir, err := os.MkdirTemp("", "roost-nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "test")
	if err := os.WriteFile(self, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	roostExec, err := keepertest.Exec()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^(TestProcess_|TestLaunch_|TestLanes_|TestAdopt_)")
	cmd.Env = []string{"TMPDIR=" + dir, "HOME=" + dir, "PATH=/usr/bin:/bin", keepertest.ExecVariable + "=" + roostExec}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func TestRecord_RoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "instances", "one")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := &keeperv1.Record{Instance: "one", Pid: 7, StartTicks: 1 << 60, Token: "t", Exit: &keeperv1.Exit{Signal: 9}}
	if err := writeRecord(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(dir, recordName)
	if err != nil || got.String() != want.String() {
		t.Errorf("read %v, %v, want %v", got, err, want)
	}
	if err := os.Rename(dir, filepath.Join(filepath.Dir(dir), "two")); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(filepath.Join(filepath.Dir(dir), "two"), recordName); err == nil {
		t.Error("a record in another's folder was taken")
	}
}

func TestReadRecords_RemovesWhatWasCutOff(t *testing.T) {
	state := t.TempDir()
	dir := instanceDir(state, "cut")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "record.json.new"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := instanceDir(state, "bad")
	if err := os.MkdirAll(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, recordName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := readRecords(state, filepath.Join(state, "logs"), hclog.NewNullLogger())
	if len(list) != 0 || err != nil {
		t.Errorf("records %v, %v, want none", list, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("a start that was cut off is left")
	}
	if _, err := os.Stat(bad); !os.IsNotExist(err) {
		t.Error("a record that was cut off is left")
	}
}

// leavingKeeper answers one Hello and is gone, as a keeper is that was told to end.
type leavingKeeper struct {
	keeperv1.UnimplementedKeeperServiceServer
	left func()
}

func (k *leavingKeeper) Hello(context.Context, *keeperv1.HelloRequest) (*keeperv1.HelloResponse, error) {
	k.left()
	return &keeperv1.HelloResponse{Protocol: Protocol}, nil
}

// ReportExits comes next, where the call is faster than the end.
func (k *leavingKeeper) ReportExits(context.Context, *keeperv1.ReportExitsRequest) (*keeperv1.ReportExitsResponse, error) {
	return nil, status.Error(codes.Unavailable, "leaving")
}

// A daemon that starts while the keeper of the one before it ends meets its
// greeting, and then nobody: it must not give up.
func TestClient_StartsAKeeperAfterOneThatLeaves(t *testing.T) {
	f := &fixture{tb: t, keeper: newConfig(t, "")}
	f.state = f.keeper.StateDir
	l, err := listenPrivate(socketPath(f.state), func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	var once sync.Once
	gone := make(chan struct{})
	keeperv1.RegisterKeeperServiceServer(g, &leavingKeeper{left: func() {
		once.Do(func() { go func() { defer close(gone); g.GracefulStop() }() })
	}})
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(f.shutdown)
	f.stop = f.connect()
	if pid := f.keeperPID(); pid == 0 {
		t.Error("no keeper")
	}
	<-gone
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// An exit that came as the keeper was ending is in the record for the next one: who
// has reaped a child is the only one who knows.
func TestServer_NotesExitsThatNobodyHeard(t *testing.T) {
	s, err := newServer(newConfig(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer s.poller.Close()
	defer s.roostExec.Close()
	i, err := s.reserve("last", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	reaped := make(chan spawn.Status, 1)
	reaped <- spawn.Status{Wait: 7 << 8, Time: time.Now()}
	i.record, i.reaped = &keeperv1.Record{Instance: i.id, App: "web"}, reaped
	close(i.published)
	s.noteLastExits()
	if r, err := readRecord(i.dir, recordName); err != nil || r.GetExit().GetCode() != 7 {
		t.Errorf("record %v, %v, want exit code 7", r, err)
	}
}
