package rpc

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Dial returns a client of the server at target, see SocketPath. It connects at
// the first call and again by itself after a loss; an error is about target only.
func Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	path, err := SocketPath(target)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("unix:"+path, append(DialOptions(), opts...)...)
}

// DialOptions are those of every client. Who may do what is decided by the
// kernel's word on the peer of the socket, so there is nothing to encrypt or prove.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: pingEvery, Timeout: pingTimeout, PermitWithoutStream: true,
		}),
		// The socket is on this machine: a daemon that was started again is to be
		// found at once, not after the two minutes that gRPC's default grows to.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	}
}

// UnreachableError says that nobody answers at a daemon's socket.
type UnreachableError struct {
	Socket string
	Err    error // of connecting to it
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Error says which socket, why, and what to do.
func (e *UnreachableError) Error() string {
	why := e.Err.Error()
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		why = "there is no such socket: start roostd, or name its socket with --daemon"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		why = "nothing listens there any more: start roostd again"
	case errors.Is(e.Err, fs.ErrPermission):
		why = "permission denied: it belongs to another user's daemon; name yours with --daemon"
	}
	return fmt.Sprintf("no daemon at %s: %s", e.Socket, why)
}

// Explain returns an *UnreachableError where a call to target failed with err
// because nobody listens there, and err itself otherwise.
func Explain(target string, err error) error {
	if status.Code(err) != codes.Unavailable {
		return err
	}
	path, perr := SocketPath(target)
	if perr != nil {
		return err
	}
	conn, derr := net.DialTimeout("unix", path, time.Second)
	if derr == nil {
		_ = conn.Close()
		return err
	}
	// Only the system's word: net puts the path, which is said already, before it.
	if errno, ok := errors.AsType[syscall.Errno](derr); ok {
		derr = errno
	}
	return &UnreachableError{Socket: path, Err: derr}
}
