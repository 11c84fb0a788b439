package auth

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/roostd/roost/daemon/internal/app"
)

// Owner tells which instance a process is a member of; "" for none.
type Owner func(ctx context.Context, pid int) (instance app.InstanceID, err error)

// Guard lets a call through, with its Principal, if its caller has the method's role.
type Guard struct {
	Policy Policy
	Owner  Owner
	Log    hclog.Logger
}

// Unary guards unary calls.
func (g Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := g.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// Stream guards streams.
func (g Guard) Stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := g.admit(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handler(srv, &guarded{stream, ctx})
}

// guarded is a stream whose context has a principal.
type guarded struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context with the principal.
func (s *guarded) Context() context.Context { return s.ctx }

// admit returns ctx with its principal, or an *app.Fault.
func (g Guard) admit(ctx context.Context, method string) (context.Context, error) {
	need, ok := RoleOf(method)
	if !ok {
		return nil, app.Errorf(app.Denied, app.ReasonPermission, "", "%s is for nobody", method)
	}
	p, err := g.identify(ctx)
	if err != nil {
		return nil, err
	}
	if !p.Has(need) {
		g.Log.Debug("call denied", "method", method, "actor", p.Actor(), "pid", p.Peer.PID, "roles", p.Roles)
		return nil, app.Errorf(app.Denied, app.ReasonPermission, "",
			"%s needs the role %s, and %s has %s: %s", method, need, p.Actor(), describe(p.Roles), g.Policy.WhoHas(need))
	}
	return With(ctx, p), nil
}

// identify finds out who calls.
func (g Guard) identify(ctx context.Context) (Principal, error) {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return Principal{}, app.Errorf(app.Denied, app.ReasonPermission, "", "the caller is unknown")
	}
	info, ok := caller.AuthInfo.(*authInfo)
	if !ok {
		return Principal{}, app.Errorf(app.Denied, app.ReasonPermission, "", "the caller cannot be identified: use the daemon's unix socket")
	}
	p := Principal{Peer: info.peer, Roles: g.Policy.Roles(info.peer)}
	if len(p.Roles) == 0 {
		return p, nil
	}
	instance, err := info.member.of(ctx, g.Owner, info.peer.PID)
	if errors.Is(err, errGone) {
		return Principal{}, app.Errorf(app.Denied, app.ReasonPermission, "", "process %d, which connected, is gone", info.peer.PID)
	}
	if err != nil {
		return Principal{}, &app.Fault{
			Kind: app.Unavailable, Reason: app.ReasonInternal, Err: err,
			Message: "it cannot be told at the moment whether the caller is a process of an app: try again",
		}
	}
	if instance != "" {
		return Principal{}, app.Errorf(app.Denied, app.ReasonPermission, "",
			"process %d belongs to instance %s, and apps have no access", info.peer.PID, instance)
	}
	return p, nil
}

// membership is what instance a connection's process is of, asked once: a
// process does not join an instance later.
type membership struct {
	mu       sync.Mutex
	known    bool
	instance app.InstanceID
}

func (m *membership) of(ctx context.Context, owner Owner, pid int) (app.InstanceID, error) {
	m.mu.Lock()
	known, instance := m.known, m.instance
	m.mu.Unlock()
	if known {
		return instance, nil
	}
	instance, err := owner(ctx, pid)
	if err != nil {
		return "", err
	}
	if instance == "" && gone(pid) {
		return "", errGone
	}
	m.mu.Lock()
	m.known, m.instance = true, instance
	m.mu.Unlock()
	return instance, nil
}

// errGone is about a connection whose process has left it to another, of which
// nothing is known: an app could get away from its instance like that.
var errGone = errors.New("the process that connected is gone")

// gone tells whether a process has ended. One of another pid namespace (pid 0) is
// nobody's instance: those can all be seen from here.
func gone(pid int) bool { return pid != 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

func describe(roles []Role) string {
	if len(roles) == 0 {
		return "none"
	}
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}
