package rpc

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// A peer that connects and then says nothing is cut off: on a root daemon's
	// socket that may be any user of the machine.
	handshakeTimeout = 10 * time.Second
	// maxStreams bounds the open calls of one connection; more of them wait in the client.
	maxStreams = 1000
)

// ServerOptions are those of every server.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsAllowed, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		// So that no handler uses what its caller closes after Serve.
		grpc.WaitForHandlers(true),
	}
}

// Serve serves l until ctx ends, which it reports as nil. It then takes no new
// calls and lets the open ones finish; those still open after grace, as watches
// are, have their contexts cancelled. It returns when every handler has. l is closed.
func Serve(ctx context.Context, s *grpc.Server, l net.Listener, grace time.Duration) error {
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()

	select {
	case err := <-served:
		s.Stop()
		return err
	case <-ctx.Done():
	}
	force := time.AfterFunc(grace, s.Stop)
	defer force.Stop()
	s.GracefulStop()
	if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
