package api

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
)

// Interceptors are what every call passes: errors are translated on the way out,
// the caller's role is checked, calls wait for the daemon to be ready, and streams
// end with ending.
func Interceptors(ending context.Context, guard auth.Guard, ready <-chan struct{}, log hclog.Logger) []grpc.ServerOption {
	t, g := translator{log}, gate{ready, ending}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(t.unary, guard.Unary, g.unary),
		grpc.ChainStreamInterceptor(t.stream, guard.Stream, g.stream),
	}
}

// translator makes statuses of errors, and logs the unforeseen ones, once.
type translator struct{ log hclog.Logger }

func (t translator) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	return resp, t.translate(ctx, info.FullMethod, err)
}

func (t translator) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return t.translate(stream.Context(), info.FullMethod, handler(srv, stream))
}

func (t translator) translate(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	s, internal := toStatus(ctx, err)
	if internal {
		t.log.Error("call failed", "method", method, "peer", auth.PeerOf(ctx), "error", err, "cause", errors.Unwrap(err))
	}
	return s.Err()
}

// early methods are answered before the daemon knows its instances again: the
// watch with heartbeats, the others because they do not depend on them.
var early = map[string]bool{
	"/roost.v1.RoutingService/Watch":                                 true,
	"/roost.v1.RoutingService/Report":                                true,
	"/roost.v1.EventService/ReadEvents":                              true,
	"/roost.v1.SystemService/GetInfo":                                true,
	"/roost.v1.SystemService/Shutdown":                               true,
	"/grpc.health.v1.Health/Check":                                   true,
	"/grpc.health.v1.Health/List":                                    true,
	"/grpc.health.v1.Health/Watch":                                   true,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      true,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": true,
}

// gate holds calls back until the daemon is ready, and ends streams with it.
type gate struct {
	ready  <-chan struct{}
	ending context.Context
}

func (g gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := g.wait(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (g gate) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(g.ending, func() { cancel(errEnding) })()
	if err := g.wait(ctx, info.FullMethod); err != nil {
		return err
	}
	return handler(srv, &gated{stream, ctx})
}

// gated is a stream that ends with the daemon.
type gated struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context that ends with the daemon.
func (s *gated) Context() context.Context { return s.ctx }

func (g gate) wait(ctx context.Context, method string) error {
	if early[method] {
		return nil
	}
	select {
	case <-g.ready:
		return nil
	case <-g.ending.Done():
		return errEnding
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errEnding is what a call is told that the daemon's end cuts off.
var errEnding = app.Errorf(app.Unavailable, app.ReasonShuttingDown, "", "the daemon is shutting down: try again when it is back")
