package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/roostd/roost/internal/rpc"
	"github.com/roostd/roost/internal/rungroup"
	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/certs"
	"github.com/roostd/roost/proxy/internal/discovery"
	"github.com/roostd/roost/proxy/internal/forward"
	"github.com/roostd/roost/proxy/internal/observe"
)

// config is what a proxy is told when it is started.
type config struct {
	listen          []string
	listenTLS       []string
	certDir         string
	clientCA        string // "": none
	clientAuth      certs.ClientAuth
	daemon          string      // "": searched in sockets
	sockets         rpc.Sockets // where this user's daemon may be
	stateDir        string
	trustedProxies  []netip.Prefix
	drainTimeout    time.Duration
	patience        time.Duration // for the daemon to name the apps, see awaitApps
	accessLog       string        // "off", "-" for stdout, or a path
	accessLogFormat observe.Format
	stdout          io.Writer
	reopen          <-chan os.Signal // the access log is to be opened anew
	version         string
	log             hclog.Logger
}

// patienceWithSnapshot is how long a proxy that knows apps of its own waits for
// the daemon's.
const patienceWithSnapshot = 250 * time.Millisecond

// run runs a proxy until ctx ends and everything that was open has ended too, or
// was cut after the drain timeout.
func run(ctx context.Context, c config) error {
	certificates, secure, err := c.secure()
	if err != nil {
		return err
	}
	listeners, err := c.listenAll(secure)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	state, err := discovery.OpenState(c.stateDir, bootID())
	if err != nil {
		return err
	}
	defer func() { _ = state.Close() }()
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	link := discovery.New(discovery.Config{
		Conn: conn, State: state, Listeners: ports(listeners), Version: c.version, Log: c.log,
		Explain: func(err error) error { return rpc.Explain(c.target(), err) },
	})
	waiter := activator.New(link)
	tasks := []rungroup.Task{{Name: "daemon link", Run: link.Run}, {Name: "activator", Run: waiter.Run}}
	serving := forward.Config{
		Routes: link.Routes(), Waiter: waiter, Blind: link.Blind, TrustedProxies: c.trustedProxies,
		DrainTimeout: c.drainTimeout, Failed: link.Failed, Warn: c.log.Warn, Debug: c.log.Debug,
		HTTPSPort: httpsPort(listeners),
	}
	if certificates != nil {
		tasks = append(tasks, rungroup.Task{Name: "certificates", Run: certificates.Run})
	}
	if c.accessLog != "off" {
		accessLog, err := c.openAccessLog()
		if err != nil {
			return err
		}
		serving.Observer = accessLog
		tasks = append(tasks, rungroup.Task{Name: "access log", Run: accessLog.Run})
	}
	s := &service{link: link, server: forward.NewServer(serving), leave: state.Leave, listeners: listeners, patience: c.patience, log: c.log}
	return s.run(ctx, tasks)
}

// service is a proxy with all that it needs.
type service struct {
	link      *discovery.Link
	server    *forward.Server
	leave     func() // a successor may start
	listeners []listener
	patience  time.Duration
	log       hclog.Logger
}

// run serves until ctx ends. The tasks that serving needs outlive it: a request
// that is being finished may still need a start, and the daemon hears goodbye
// only when nothing is open any more.
func (s *service) run(ctx context.Context, needed []rungroup.Task) error {
	outer, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	return rungroup.Run(outer, append(needed, rungroup.Task{Name: "serve", Run: func(outer context.Context) error {
		defer stop()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(outer, func() { cancel(context.Cause(outer)) })()
		return s.serve(ctx)
	}})...)
}

// serve serves all listeners until ctx ends, or one of them fails.
func (s *service) serve(ctx context.Context) error {
	for _, l := range s.listeners {
		s.log.Info("listening", "listener", l.kind(), "address", l.Addr().String())
	}
	s.awaitApps(ctx)
	var tasks []rungroup.Task
	for _, l := range s.listeners {
		tasks = append(tasks, rungroup.Task{Name: l.Addr().String(), Run: func(ctx context.Context) error {
			if l.tls != nil {
				return s.server.ServeTLS(ctx, l, l.tls)
			}
			return s.server.Serve(ctx, l)
		}})
	}
	defer context.AfterFunc(ctx, func() {
		s.log.Info("stopping", "reason", context.Cause(ctx))
		s.leave()
	})()
	return rungroup.Run(ctx, tasks...)
}

// awaitApps waits until the apps are known. A proxy that starts takes connections
// at once, but read their requests it must not: every app would be unknown for a
// moment. It does not wait for long for a daemon that is not there.
func (s *service) awaitApps(ctx context.Context) {
	limit := s.patience
	if !s.link.Blind() {
		limit = min(limit, patienceWithSnapshot)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.link.Synced():
	case <-timer.C:
	case <-ctx.Done():
	}
}

// target is where the daemon is now: one that is started later may be elsewhere
// than where the search ended before.
func (c config) target() string {
	if c.daemon != "" {
		return c.daemon
	}
	return c.sockets.Dial()
}

func (c config) dial() (*grpc.ClientConn, error) {
	return rpc.Dial(c.target(), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		path, err := rpc.SocketPath(c.target())
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}))
}

func (c config) openAccessLog() (*observe.AccessLog, error) {
	if c.accessLog == "-" {
		return observe.New("", c.stdout, c.accessLogFormat, c.reopen, c.log)
	}
	return observe.New(c.accessLog, nil, c.accessLogFormat, c.reopen, c.log)
}

// bootID names this start of the machine; "" where it has no name.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
