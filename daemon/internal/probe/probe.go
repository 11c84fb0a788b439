// Package probe decides whether an instance is ready: it listens where it was
// told to, with a socket of its own, and answers what its ready probe asks.
//
// Polls are cheap enough to be frequent (see sockdiag), so that a start takes
// next to nothing beyond the app's own boot.
package probe

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/probe/sockdiag"
)

// Output opens what an instance writes, for log probes.
type Output interface {
	// Open returns the stream, "stdout" or "stderr", from its first byte. Read
	// never blocks: io.EOF says that nothing more is there yet.
	Open(name string, id app.InstanceID, stream string) io.ReadCloser
}

// Config is what a Prober needs.
type Config struct {
	Log    hclog.Logger
	Output Output
	// ProxyGID is the group that the sockets of listen.mode unix are opened to;
	// negative leaves their group alone.
	ProxyGID int
	// Condition is told of a lasting fact that a probe found, such as
	// app.CondWeakOwnerCheck. It may be nil; it must not block.
	Condition func(name string, id app.InstanceID, condition, message string)
}

// Prober decides readiness. It is for use by many goroutines.
type Prober struct {
	cfg   Config
	net   kernel
	proc  procfs
	fine  bool // poll with the kernel's precision; not in virtual time
	close func()
}

// kernel is what is asked about sockets; sockdiag.Querier in earnest.
type kernel interface {
	Listener(addr netip.AddrPort) (sockdiag.Socket, bool, error)
	Conn(local, remote netip.AddrPort) (sockdiag.Socket, bool, error)
	Listeners(port uint16) ([]sockdiag.Socket, error)
	Users(port uint16) ([]sockdiag.Socket, error)
	UnixListeners() ([]sockdiag.UnixSocket, error)
}

// New returns a Prober. Close releases what it keeps open.
func New(cfg Config) *Prober {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	q := &sockdiag.Querier{}
	return &Prober{cfg: cfg, net: q, proc: "/proc", fine: true, close: q.Close}
}

// Close releases the netlink sockets that are kept open.
func (r *Prober) Close() { r.close() }

// WaitReady returns the address the instance is reached at once it is ready (""
// for listen.mode none), or a *app.StartError. The end of ctx ends it; a deadline
// is the start's timeout. It does not watch for the process's exit.
func (r *Prober) WaitReady(ctx context.Context, p app.Process, l app.Launch) (string, error) {
	t := r.newTarget(p, l)
	for _, s := range t.steps() {
		if err := s.wait(ctx); err != nil {
			return "", t.failure(ctx, s, err)
		}
	}
	r.cfg.Log.Debug("instance ready", "app", l.Spec.Name, "instance", l.ID, "address", t.address, "waited", time.Since(t.start))
	return t.address, nil
}

// Check asks once whether an instance that was ready at address still is: its
// socket listens there and the ready probe, where it can be asked again, passes.
func (r *Prober) Check(ctx context.Context, p app.Process, l app.Launch, address string) error {
	t := r.newTarget(p, l)
	t.address = address
	return t.check(ctx)
}
