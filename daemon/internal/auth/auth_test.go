package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	operators = 500
	proxies   = 501
	daemonUID = 1000
)

func testPolicy() Policy {
	groups := map[string]uint32{OperatorGroup: operators, "roost-proxy": proxies}
	return Policy{UID: daemonUID, ProxyGroup: "roost-proxy", GroupID: func(name string) (uint32, bool) {
		gid, ok := groups[name]
		return gid, ok
	}}
}

func TestPolicy_Roles(t *testing.T) {
	all := []Role{Viewer, Operator, Admin, Proxy}
	tests := map[string]struct {
		peer Peer
		want []Role
	}{
		"root":                      {Peer{UID: 0}, all},
		"the daemon's own user":     {Peer{UID: daemonUID, GID: 7}, all},
		"a stranger":                {Peer{UID: 7, GID: 7, Groups: []uint32{8}}, nil},
		"operator by primary group": {Peer{UID: 7, GID: operators}, []Role{Viewer, Operator}},
		"operator, supplementary":   {Peer{UID: 7, GID: 7, Groups: []uint32{8, operators}}, []Role{Viewer, Operator}},
		"proxy by primary group":    {Peer{UID: 7, GID: proxies}, []Role{Proxy}},
		"proxy, supplementary":      {Peer{UID: 7, GID: 7, Groups: []uint32{proxies}}, []Role{Proxy}},
		"both":                      {Peer{UID: 7, GID: operators, Groups: []uint32{proxies}}, []Role{Viewer, Operator, Proxy}},
		"root's group is nothing":   {Peer{UID: 7, GID: 0}, nil},
	}
	for name, tt := range tests {
		if got := testPolicy().Roles(tt.peer); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	none := Policy{UID: daemonUID, ProxyGroup: "x", GroupID: func(string) (uint32, bool) { return 0, false }}
	if got := none.Roles(Peer{UID: 7, GID: 0}); len(got) != 0 {
		t.Errorf("without such groups a peer of group 0 has %v", got)
	}
}

// call passes a method through a guard and returns the principal it had.
func call(g Guard, info peer.Peer, method string) (Principal, error) {
	var seen Principal
	_, err := g.Unary(peer.NewContext(context.Background(), &info), nil, &grpc.UnaryServerInfo{FullMethod: method},
		func(ctx context.Context, _ any) (any, error) {
			seen = From(ctx)
			return nil, nil
		})
	return seen, err
}

func guard(owner Owner) Guard {
	return Guard{Policy: testPolicy(), Owner: owner, Log: hclog.NewNullLogger()}
}

func nobody(context.Context, int) (app.InstanceID, error) { return "", nil }

func TestGuard_AsksForTheMethodsRole(t *testing.T) {
	const get, apply, stop = "/roost.v1.AppService/GetApp", "/roost.v1.AppService/ApplyApps", "/roost.v1.AppService/StopApp"
	const activate, info = "/roost.v1.RoutingService/Activate", "/roost.v1.SystemService/GetInfo"
	root := Peer{UID: 0, PID: os.Getpid()}
	operator, proxy, stranger := root, root, root
	operator.UID, operator.GID = 7, operators
	proxy.UID, proxy.GID = 7, proxies
	stranger.UID, stranger.GID = 7, 7
	tests := map[string]struct {
		peer   Peer
		method string
		ok     bool
	}{
		"root applies":             {root, apply, true},
		"root activates":           {root, activate, true},
		"an operator reads":        {operator, get, true},
		"an operator stops":        {operator, stop, true},
		"an operator applies":      {operator, apply, false},
		"an operator activates":    {operator, activate, false},
		"a proxy activates":        {proxy, activate, true},
		"a proxy reads":            {proxy, get, false},
		"a proxy asks for info":    {proxy, info, false},
		"a stranger reads":         {stranger, get, false},
		"root, an unknown method":  {root, "/roost.v1.AppService/Nothing", false},
		"root, another's service":  {root, "/x.Y/Z", false},
		"root, without any method": {root, "", false},
	}
	for name, tt := range tests {
		p, err := call(guard(nobody), peer.Peer{AuthInfo: NewAuthInfo(tt.peer)}, tt.method)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && app.KindOf(err) != app.Denied {
			t.Errorf("%s: kind %v, want denied", name, app.KindOf(err))
		}
		if err == nil && p.Peer.UID != tt.peer.UID {
			t.Errorf("%s: the handler saw %+v", name, p)
		}
	}
}

func TestGuard_SaysWhoMay(t *testing.T) {
	for method, want := range map[string]string{
		"/roost.v1.AppService/ApplyApps":    "needs the role admin, and uid 4711 has none: be root or the daemon's user",
		"/roost.v1.AppService/GetApp":       "or a member of the group roost",
		"/roost.v1.RoutingService/Activate": "or a member of the group " + testPolicy().ProxyGroup,
	} {
		_, err := call(guard(nobody), peer.Peer{AuthInfo: NewAuthInfo(Peer{UID: 4711, GID: 4711})}, method)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want it to end with %q", method, err, want)
		}
	}
}

func TestGuard_AProcessOfAnInstanceHasNoRole(t *testing.T) {
	asked := 0
	g := guard(func(_ context.Context, pid int) (app.InstanceID, error) {
		asked++
		if pid == 5 {
			return "abc", nil
		}
		return "", nil
	})
	member := peer.Peer{AuthInfo: NewAuthInfo(Peer{UID: 0, PID: 5})}
	for range 2 {
		if _, err := call(g, member, "/roost.v1.AppService/GetApp"); app.KindOf(err) != app.Denied || !strings.Contains(err.Error(), "abc") {
			t.Errorf("got %v, want it denied and the instance named", err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times about one connection", asked)
	}
	if _, err := call(g, peer.Peer{AuthInfo: NewAuthInfo(Peer{UID: 0, PID: os.Getpid()})}, "/roost.v1.AppService/GetApp"); err != nil {
		t.Error(err)
	}
}

func TestGuard_WhoCannotBeToldApartHasNoRole(t *testing.T) {
	down := errors.New("the keeper is down")
	fails := true
	g := guard(func(context.Context, int) (app.InstanceID, error) {
		if fails {
			return "", down
		}
		return "", nil
	})
	caller := peer.Peer{AuthInfo: NewAuthInfo(Peer{UID: 0, PID: os.Getpid()})}
	if _, err := call(g, caller, "/roost.v1.AppService/GetApp"); app.KindOf(err) != app.Unavailable || !errors.Is(err, down) {
		t.Errorf("got %v, want unavailable", err)
	}
	fails = false
	if _, err := call(g, caller, "/roost.v1.AppService/GetApp"); err != nil {
		t.Errorf("once it can be told: %v", err)
	}
}

func TestGuard_AConnectionThatItsProcessLeftHasNoRole(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	caller := peer.Peer{AuthInfo: NewAuthInfo(Peer{UID: 0, PID: cmd.Process.Pid})}
	if _, err := call(guard(nobody), caller, "/roost.v1.AppService/GetApp"); app.KindOf(err) != app.Denied {
		t.Errorf("got %v, want it denied", err)
	}
}

func TestGuard_WithoutPeerCredentialsNobodyHasARole(t *testing.T) {
	for name, caller := range map[string]peer.Peer{"none": {}, "nil": {AuthInfo: nil}} {
		if _, err := call(guard(nobody), caller, "/roost.v1.AppService/GetApp"); app.KindOf(err) != app.Denied {
			t.Errorf("%s: %v, want it denied", name, err)
		}
	}
}

func TestPrincipal_Actor(t *testing.T) {
	for uid, want := range map[uint32]string{0: "uid 0 (root)", 4294967000: "uid 4294967000"} {
		if got := (Principal{Peer: Peer{UID: uid}}).Actor(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// accept returns the server's side of a connection that dial makes.
func accept(t *testing.T, dial func(name string) error) net.Conn {
	t.Helper()
	name := fmt.Sprintf("@roost-auth-test-%d", os.Getpid()) // abstract: any user may connect
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan error, 1)
	go func() { dialled <- dial(name) }()
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func connectRaw(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: name})
}

func TestCredentials_AreTheKernels(t *testing.T) {
	_, info, err := Credentials().ServerHandshake(accept(t, connectRaw))
	if err != nil {
		t.Fatal(err)
	}
	p := info.(*authInfo).peer
	if p.PID != os.Getpid() || int(p.UID) != os.Getuid() || int(p.GID) != os.Getgid() {
		t.Errorf("got %+v, want this process", p)
	}
}

func TestCredentials_SupplementaryGroups(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing the groups needs root")
	}
	want := make([]uint32, 100) // more than fit in the first try
	for i := range want {
		want[i] = uint32(2000 + i)
	}
	conn := accept(t, func(name string) error {
		// The thread ends with the goroutine that locked it: nobody else gets its identity.
		runtime.LockOSThread()
		if err := become(65534, 65533, want); err != nil {
			return err
		}
		return connectRaw(name)
	})
	_, info, err := Credentials().ServerHandshake(conn)
	if err != nil {
		t.Fatal(err)
	}
	p := info.(*authInfo).peer
	if p.UID != 65534 || p.GID != 65533 || !slices.Equal(p.Groups, want) {
		t.Errorf("got %+v", p)
	}
}

// become changes the calling thread only, unlike the functions of package syscall.
func become(uid, gid int, groups []uint32) error {
	return errors.Join(setgroups(groups), setgid(gid), setuid(uid))
}
