// Package discovery is the proxy's link to the daemon: it watches routes and
// endpoints, has apps started, and reports load, drained instances and failures.
//
// What is known is only ever replaced by what a daemon says: a link that breaks,
// or a daemon that does not know its instances yet, takes nothing away. A copy
// on disk lets a proxy that starts without a daemon serve all the same.
package discovery

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rungroup"
	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/route"
)

// Routes is where the table of routes is found: replaced as a whole, never nil.
type Routes = atomic.Pointer[route.Table[*backend.Pool]]

// Conn is the connection to the daemon. *grpc.ClientConn is one.
type Conn interface {
	grpc.ClientConnInterface
	// ResetConnectBackoff has it try to connect at once.
	ResetConnectBackoff()
}

// Listener is one of the proxy's listeners, as the daemon is told of it.
type Listener struct {
	TLS  bool
	Port int
}

// Config says whom a Link connects and where it keeps its state.
type Config struct {
	Conn Conn
	// Explain says of a failed call to Conn what a person can do about it. It may
	// be nil.
	Explain   func(error) error
	State     *State
	Listeners []Listener
	Version   string
	Log       hclog.Logger
}

// Link is the link to the daemon. Its parts:
//
//	watch   daemon → view: routes, pools       one stream, again and again
//	report  pools, failures → daemon           one stream, again and again
//	save    view → disk                        a while after a change
type Link struct {
	client   roostv1.RoutingServiceClient
	conn     Conn
	explain  func(error) error
	log      hclog.Logger
	synced   gate
	view     *view
	reporter *reporter
	saver    *saver
}

// New returns a Link that knows what its state directory says. Run connects it.
func New(c Config) *Link {
	if c.Explain == nil {
		c.Explain = func(err error) error { return err }
	}
	l := &Link{
		client: roostv1.NewRoutingServiceClient(c.Conn), conn: c.Conn,
		explain: c.Explain, log: c.Log,
	}
	l.synced.shut()
	l.reporter = newReporter(l, c)
	l.view = newView(backend.NewRegistry(l.reporter.changed))
	l.saver = newSaver(c.State, l.view, c.Log)
	l.view.changed = l.saver.changed
	l.restore(c.State)
	return l
}

// Routes is the table that requests are looked up in.
func (l *Link) Routes() *Routes { return &l.view.routes }

// Registry holds the pools that the routes lead to.
func (l *Link) Registry() *backend.Registry { return l.view.registry }

// Blind reports whether nobody has told what apps there are: neither a daemon,
// nor a snapshot of an earlier run.
func (l *Link) Blind() bool { return !l.view.told.Load() }

// Run keeps the link up until ctx ends. Then it says goodbye to the daemon, as
// far as that listens, and saves what is known.
func (l *Link) Run(ctx context.Context) error {
	return rungroup.Run(ctx,
		rungroup.Task{Name: "watch", Run: l.watch},
		rungroup.Task{Name: "report", Run: l.reporter.run},
		rungroup.Task{Name: "save", Run: l.saver.run},
	)
}

// restore takes over what was known when the proxy last ran.
func (l *Link) restore(s *State) {
	epoch, apps, err := s.load()
	if err != nil {
		l.log.Warn("snapshot ignored, nothing is served until the daemon is reached", "path", s.snapshotPath(), "error", err)
		return
	}
	if epoch == 0 {
		return // nothing was saved
	}
	l.view.replace(epoch, apps)
	l.log.Info("snapshot loaded", "apps", len(apps), "endpoints", countEndpoints(apps))
}

// The pause between two attempts to reach the daemon: it is on this machine, so
// it is found soon after its start, and trying costs next to nothing.
const (
	minPause = 50 * time.Millisecond
	maxPause = 250 * time.Millisecond
)
