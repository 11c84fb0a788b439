package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
)

// host is a daemon and a proxy of a test's own.
type host struct {
	testing.TB
	dir    string
	socket string
	daemon *program
	proxy  *program
	url    string // of the proxy, as host:port

	firstPort int      // of a hundred that are the daemon's
	by        []string // what becomes the daemon
	programs  string   // the folder that they are in
	keeperPID int      // as the daemon told it last

	conn      *grpc.ClientConn
	apps      roostv1.AppServiceClient
	instances roostv1.InstanceServiceClient
	events    roostv1.EventServiceClient
	logs      roostv1.LogServiceClient
	system    roostv1.SystemServiceClient
}

// hosts counts those of this run: each has ports of its own, so that those of
// tests that run at the same time do not meet.
var hosts atomic.Int32

// newHost starts both programs. When the test ends it ends them as an operator
// would, and fails it if a process of an app is left.
func newHost(t testing.TB, daemonArgs ...string) *host {
	t.Helper()
	return newHostBy(t, nil, daemonArgs...)
}

// newHostBy has another program become the daemon.
func newHostBy(t testing.TB, by []string, daemonArgs ...string) *host {
	t.Helper()
	return newHostFrom(t, bin, by, daemonArgs...)
}

// newHostFrom has both programs from another folder.
func newHostFrom(t testing.TB, programs string, by []string, daemonArgs ...string) *host {
	t.Helper()
	// Not t.TempDir: a unix socket's path has 107 bytes. The dot ends the name, so
	// that no host's folder is the beginning of another's.
	dir, err := os.MkdirTemp("", "roost-e2e*.")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h := &host{TB: t, dir: dir, socket: filepath.Join(dir, "run", "roostd.sock"), firstPort: 20000 + int(hosts.Add(1))%90*100, by: by, programs: programs}
	t.Cleanup(h.close)
	h.startDaemon(daemonArgs...)
	h.startProxy("127.0.0.1:0")
	if h.conn, err = rpc.Dial("unix://" + h.socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.conn.Close() })
	h.apps = roostv1.NewAppServiceClient(h.conn)
	h.instances = roostv1.NewInstanceServiceClient(h.conn)
	h.events = roostv1.NewEventServiceClient(h.conn)
	h.logs = roostv1.NewLogServiceClient(h.conn)
	h.system = roostv1.NewSystemServiceClient(h.conn)
	h.awaitProxy()
	return h
}

// awaitProxy waits until the daemon knows the proxy. Without that an apply is
// complete though no proxy has its routes.
func (h *host) awaitProxy() {
	h.Helper()
	h.eventually("the daemon knows the proxy", func() bool {
		info, err := h.system.GetInfo(h.Context(), &roostv1.GetInfoRequest{})
		return err == nil && slices.ContainsFunc(info.Proxies, (*roostv1.ProxyInfo).GetConnected)
	})
}

func (h *host) startDaemon(args ...string) {
	h.Helper()
	h.launchDaemon(args...)
	h.daemon.address("unix")
}

// launchDaemon does not wait until the daemon listens: it may not come to that.
func (h *host) launchDaemon(args ...string) {
	h.Helper()
	h.daemon = startBy(h, h.by, filepath.Join(h.programs, "roostd"), append([]string{
		"--socket", h.socket, "--state-dir", filepath.Join(h.dir, "state"),
		"--port-range", fmt.Sprintf("%d-%d", h.firstPort, h.firstPort+99),
	}, args...)...)
	h.endFirst(h.daemon)
}

// endFirst ends a program as an operator would, before what start does to one
// that still runs when the test ends.
func (h *host) endFirst(p *program) {
	h.Cleanup(func() { p.end(syscall.SIGTERM) })
}

func (h *host) startProxy(listen string, args ...string) {
	h.Helper()
	h.proxy = start(h, filepath.Join(h.programs, "roost-proxy"), append([]string{
		"--listen", listen, "--daemon", "unix://" + h.socket,
		"--state-dir", filepath.Join(h.dir, "proxy"), "--access-log", filepath.Join(h.dir, "access.log"),
	}, args...)...)
	h.endFirst(h.proxy)
	h.url = h.proxy.address("http")
}

// close looks for what is left of the test, whose programs have ended.
func (h *host) close() {
	if left := h.processes(); len(left) > 0 {
		h.Errorf("processes left: %v", left)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if log, err := os.ReadFile(filepath.Join(h.dir, "state", "keeper.log")); err == nil && contains(string(log), "WARNING: DATA RACE") {
		h.Errorf("the keeper has a data race\n%s", log)
	}
	_ = os.RemoveAll(h.dir)
}

// processes lists every process that runs in, or was started from, the test's
// folder: apps, their children, and keepers.
func (h *host) processes() []int {
	h.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, _ := os.Readlink("/proc/" + e.Name() + "/cwd")
		cmdline, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.HasPrefix(cwd, h.dir) || strings.Contains(string(cmdline), h.dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// spec is a test app with a folder and a host name of its own, NAME.test.
func (h *host) spec(name string, args ...string) *roostv1.AppSpec {
	h.Helper()
	dir := filepath.Join(h.dir, "apps", name)
	// Whoever the app runs as may write there.
	if err := errorsOf(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o777)); err != nil {
		h.Fatal(err)
	}
	return &roostv1.AppSpec{
		Name: name, Dir: dir,
		Command: append([]string{filepath.Join(bin, "testapp")}, args...),
		Routes:  []*roostv1.Route{{Host: name + ".test"}},
		Recycle: &roostv1.Recycle{MinReady: durationpb.New(300 * time.Millisecond)},
	}
}

// apply applies specs and waits until their rollouts are over.
func (h *host) apply(specs ...*roostv1.AppSpec) []*roostv1.ApplyResult {
	h.Helper()
	resp, err := h.apps.ApplyApps(h.Context(), &roostv1.ApplyAppsRequest{Specs: specs})
	if err != nil {
		h.Fatalf("apply: %v", err)
	}
	for _, r := range resp.Results {
		if r.RolloutId != "" {
			h.rollout(r.RolloutId)
		}
	}
	return resp.Results
}

// rollout waits until a rollout is over and returns how it ended.
func (h *host) rollout(id string) *roostv1.Rollout {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 2*patience)
	defer cancel()
	stream, err := h.apps.WatchRollout(ctx, &roostv1.WatchRolloutRequest{RolloutId: id})
	if err != nil {
		h.Fatal(err)
	}
	var last *roostv1.Rollout
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return last
		}
		if err != nil {
			h.Fatalf("rollout %s: %v; it was %v", id, err, last)
		}
		last = m.Rollout
	}
}

func (h *host) app(name string) *roostv1.App {
	h.Helper()
	resp, err := h.apps.GetApp(h.Context(), &roostv1.GetAppRequest{Name: name})
	if err != nil {
		h.Fatal(err)
	}
	return resp.App
}

// live returns an app's live instances.
func (h *host) live(name string) []*roostv1.Instance {
	h.Helper()
	resp, err := h.instances.ListInstances(h.Context(), &roostv1.ListInstancesRequest{App: name})
	if err != nil {
		h.Fatal(err)
	}
	return resp.Instances
}

// pids returns those of an app's live instances. One that is being launched has none
// yet: that is 0, and a signal to 0 is one to the tests themselves.
func (h *host) pids(name string) []int32 {
	h.Helper()
	var pids []int32
	for _, i := range h.live(name) {
		if i.Pid != 0 {
			pids = append(pids, i.Pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// seen returns the events of an app so far.
func (h *host) seen(name string) []*roostv1.Event {
	h.Helper()
	stream, err := h.events.ReadEvents(h.Context(), &roostv1.ReadEventsRequest{App: name})
	if err != nil {
		h.Fatal(err)
	}
	var events []*roostv1.Event
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return events
		}
		if err != nil {
			h.Fatal(err)
		}
		if e := m.GetEvent(); e != nil {
			events = append(events, e)
		}
	}
}

// count returns how many events of a kind an app has.
func (h *host) count(name, id string) int {
	h.Helper()
	n := 0
	for _, e := range h.seen(name) {
		if e.Id == id {
			n++
		}
	}
	return n
}

// eventually waits until a condition holds; what says which.
func (h *host) eventually(what string, holds func() bool) {
	h.Helper()
	h.within(patience, what, holds)
}

// within does so of something that takes its time.
func (h *host) within(limit time.Duration, what string, holds func() bool) {
	h.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			h.Fatalf("not in %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// reply is an answer that came through the proxy.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

func (r reply) String() string { return fmt.Sprintf("%d %v %q %v", r.status, r.header, r.body, r.err) }

// json reads the body's fields.
func (r reply) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	return m
}

// get asks for NAME.test/path on a connection of its own.
func (h *host) get(name, path string) reply {
	return h.do(http.MethodGet, name, path, nil)
}

func (h *host) do(method, name, path string, header http.Header) reply {
	return h.doBy(&http.Transport{DisableKeepAlives: true}, method, "http://"+h.url+path, name, header)
}

// doBy asks as NAME.test at a URL, and follows no redirect.
func (h *host) doBy(transport *http.Transport, method, url, name string, header http.Header) reply {
	req, err := http.NewRequestWithContext(h.Context(), method, url, nil)
	if err != nil {
		return reply{err: err}
	}
	req.Host = name + ".test"
	req.Header = header
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body), err}
}

// wants fails the test unless the answer has the status.
func (r reply) wants(t testing.TB, status int) reply {
	t.Helper()
	if r.err != nil || r.status != status {
		t.Fatalf("want %d, got %v", status, r)
	}
	return r
}
