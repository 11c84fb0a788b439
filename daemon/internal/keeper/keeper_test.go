package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/keepertest"
)

// keeperVariable makes the test binary a keeper; its value is the Config.
const keeperVariable = "ROOST_TEST_KEEPER"

// filesVariable is how many files such a keeper may have open.
const filesVariable = "ROOST_TEST_FILES"

func TestMain(m *testing.M) {
	keepertest.Main()
	if text, ok := os.LookupEnv(keeperVariable); ok {
		os.Exit(runKeeper(text))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		keepertest.Clean()
		os.Exit(code)
	}))
}

func runKeeper(text string) int {
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		panic(err)
	}
	cfg.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Info})
	if most, err := strconv.ParseUint(os.Getenv(filesVariable), 10, 64); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			panic(err)
		}
	}
	if err := Run(context.Background(), cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// fixture is a keeper and a client of it.
type fixture struct {
	tb     testing.TB
	state  string
	client *Client
	keeper Config
	stop   func() // ends the client
	run    string // folder of sockets, whose paths must be short
	orphan func(pid, uid int, killed bool)
	// total and deleted are ClientConfig's LogMaxTotal and LogsDeleted.
	total   int64
	deleted func(app string, own, forAll int64)
	fault   func(p app.ProcessInfo, why string)
	dropped func(p app.ProcessInfo, over bool)
	missing func(p app.ProcessInfo)
}

func newConfig(tb testing.TB, lane string) Config {
	tb.Helper()
	exec, err := keepertest.Exec()
	if err != nil {
		tb.Fatal(err)
	}
	state := tb.TempDir()
	return Config{
		StateDir: state, LogDir: filepath.Join(state, "logs"), Exec: exec, Lane: lane, Log: hclog.NewNullLogger(),
		Idle: time.Minute,
	}
}

// newFixture runs a keeper in this process, and its client.
func newFixture(tb testing.TB, lane string) *fixture {
	tb.Helper()
	f := &fixture{tb: tb, keeper: newConfig(tb, lane)}
	f.state = f.keeper.StateDir
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, f.keeper) }()
	tb.Cleanup(func() {
		defer cancel()
		if err := <-ended; err != nil {
			tb.Errorf("keeper: %v", err)
		}
	})
	f.await(func() bool { return try(tb.Context(), socketPath(f.state)) == nil })
	tb.Cleanup(f.shutdown)
	f.stop = f.connect()
	return f
}

// shutdown ends the keeper and all that still runs, whatever became of the
// fixture's client.
func (f *fixture) shutdown() {
	c, err := NewClient(ClientConfig{StateDir: f.state, Log: hclog.NewNullLogger()})
	if err != nil {
		f.tb.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.Shutdown(ctx, true); err != nil {
		f.tb.Errorf("shutdown: %v", err)
	}
	// Until it has ended it may still make files.
	lock, err := os.OpenFile(filepath.Join(f.state, "keeper.lock"), os.O_RDWR, 0)
	if err != nil {
		f.tb.Fatal(err)
	}
	defer lock.Close()
	f.await(func() bool { return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil })
}

// clientConfig is that of the fixture's client.
func (f *fixture) clientConfig() ClientConfig {
	f.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		f.tb.Fatal(err)
	}
	if f.run == "" {
		if f.run, err = os.MkdirTemp("", "run"); err != nil { // TempDir's are longer than a socket may be
			f.tb.Fatal(err)
		}
		f.tb.Cleanup(func() { os.RemoveAll(f.run) })
	}
	cfg := f.keeper
	cfg.Log = nil
	text, _ := json.Marshal(cfg)
	return ClientConfig{
		StateDir: f.state, RunDir: f.run, Env: map[string]string{"PATH": "/usr/bin:/bin"},
		Version: f.keeper.Version, Exe: self, Args: []string{"roostd", "keeper"}, Environ: []string{keeperVariable + "=" + string(text)},
		LogMaxTotal: f.total, LogsDeleted: f.deleted, Orphan: f.orphan, StdoutFault: f.fault,
		OutputDropped: f.dropped, OutputMissing: f.missing, Log: hclog.NewNullLogger(),
	}
}

// connect makes the fixture's client and runs it until the test's end.
func (f *fixture) connect() (stop func()) {
	f.tb.Helper()
	c, err := NewClient(f.clientConfig())
	if err != nil {
		f.tb.Fatal(err)
	}
	f.client = c
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			f.tb.Errorf("client: %v", err)
		}
		c.Close()
	}
	f.tb.Cleanup(stop)
	return stop
}

// await waits until a condition holds that nothing signals.
func (f *fixture) await(cond func() bool) {
	f.tb.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			f.fail()
		case <-tick.C:
		}
	}
}

// fail ends a test that waited in vain, with what the keeper has to say.
func (f *fixture) fail() {
	f.tb.Helper()
	log, _ := os.ReadFile(filepath.Join(f.state, "keeper.log"))
	f.tb.Fatalf("waited in vain; the keeper's log:\n%s", log)
}

func (f *fixture) wait(c <-chan struct{}) {
	f.tb.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		f.fail()
	}
}

// ids are used once, in this process and, with its number, on this machine: who
// looks for an instance's processes goes by it.
var ids int

// spec is for this test's binary as the app of a name.
func (f *fixture) spec(name string) app.Launch {
	f.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		f.tb.Fatal(err)
	}
	ids++
	return app.Launch{
		ID: app.InstanceID(fmt.Sprintf("t%dx%08d", os.Getpid(), ids)), Generation: 3, Dir: "/", Port: 20001, Token: "secret-token",
		Spec: app.Spec{
			Name: "web", Command: []string{self}, Dir: "/", Umask: "022",
			Env:    map[string]string{keepertest.Variable: name},
			Listen: app.Listen{Mode: app.ListenPort},
		},
		Notes: map[string]string{"note": "kept"},
	}
}

func (f *fixture) launch(l app.Launch) *Process {
	f.tb.Helper()
	p, err := f.client.Launch(f.tb.Context(), l)
	if err != nil {
		f.tb.Fatal(err)
	}
	return p
}

func (f *fixture) output(p *Process, stream string) string {
	f.tb.Helper()
	list, err := instanceSegments(f.keeper.LogDir, "web", string(p.id))
	if err != nil {
		f.tb.Fatal(err)
	}
	slices.SortFunc(list, func(a, b segment) int { return startOf(a.path) - startOf(b.path) })
	var text strings.Builder
	for _, s := range list {
		if strings.HasPrefix(filepath.Base(s.path), stream+".") {
			data, err := os.ReadFile(s.path)
			if err != nil && !os.IsNotExist(err) { // the oldest may just be deleted
				f.tb.Fatal(err)
			}
			text.Write(data)
		}
	}
	return text.String()
}

// started waits until an app named term has said so, and heeds SIGTERM.
func (f *fixture) started(p *Process) {
	f.tb.Helper()
	f.await(func() bool { return f.output(p, "stdout") == "started\n" })
}

// pids reads what an app of keepertest that starts others has written.
func (f *fixture) pids(file string) []string {
	f.tb.Helper()
	f.await(func() bool { _, err := os.Stat(file + ".done"); return err == nil })
	data, err := os.ReadFile(file)
	if err != nil {
		f.tb.Fatal(err)
	}
	return strings.Fields(string(data))
}

func runs(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(data), ") Z ")
}

// assertNothingLeft checks that nothing of a launch that failed, or was forgotten,
// is left.
func (f *fixture) assertNothingLeft(id app.InstanceID) {
	f.tb.Helper()
	for _, path := range []string{
		instanceDir(f.state, string(id)), filepath.Join(f.run, "i", string(id)),
	} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			f.tb.Errorf("%s is left, %v", path, err)
		}
	}
}
