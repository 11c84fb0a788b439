package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
	"github.com/roostd/roost/internal/rpc"
)

// ClientConfig says how the daemon reaches its keeper, and what the host is like.
type ClientConfig struct {
	StateDir   string
	RunDir     string            // folder of the daemon's socket: the apps' sockets lie below it
	AppUser    string            // runs apps that name nobody, where the daemon is root
	ProxyGroup string            // may connect to the apps' sockets, where it exists
	Env        map[string]string // of the daemon: PATH, LANG, TZ, TMPDIR, as far as set
	// Exe, Args and Environ start a keeper of the same state dir. Args begin with
	// the name that it is called by.
	Exe     string
	Args    []string
	Environ []string
	// Exec is the roost-exec that belongs to Exe, which the keeper has as
	// InheritedExec, whatever its file has become meanwhile; nil where Args name one.
	Exec *os.File
	// Version is the daemon's: a keeper of another one that is found at the start is
	// asked to leave its instances to a new one.
	Version string
	// KeeperStarted is told of each keeper that had to be started and works, and how
	// the one before has ended ("" where that was none of this daemon's);
	// KeeperFailed that none can be, once until one does. Both may be nil.
	KeeperStarted func(pid int, why string)
	KeeperFailed  func(err error)
	// LogMaxTotal bounds the output of all apps together, in bytes; 0 is no bound.
	LogMaxTotal int64
	// LogsDeleted is told how much of an app's output its own limits, and the bound
	// for all, have made a keeper delete so far; it may be nil.
	LogsDeleted func(app string, own, forAll int64)
	// Orphan is told of each process that no instance could be told of, and again
	// when it is killed; it may be nil.
	Orphan func(pid, uid int, killed bool)
	// StdoutFault is told of each instance whose output is not copied to its
	// logs.stdout_file, or not all of it, and why; it may be nil.
	StdoutFault func(p app.ProcessInfo, why string)
	// Output is told when that of an instance stands differently; it may be nil.
	Output func(p app.ProcessInfo)
	// OutputDropped is told once, of all daemons, when output of an instance begins
	// to be dropped, and when that is over; OutputMissing when its last output may
	// be missing. They may be nil together.
	OutputDropped func(p app.ProcessInfo, over bool)
	OutputMissing func(p app.ProcessInfo)
	Log           hclog.Logger
}

// Client is the daemon's end of its keeper. All but Run wait until there is one.
type Client struct {
	cfg  ClientConfig
	host resolve.Host
	conn *grpc.ClientConn
	rpc  keeperv1.KeeperServiceClient

	synced chan struct{} // closed once the records of a keeper are all here
	ended  chan struct{} // closed when Run has ended

	births sync.Mutex // held while a child is born or reaped

	mu        sync.Mutex
	processes map[app.InstanceID]*Process
	abandoned map[app.InstanceID]bool // launches whose answer was lost
	hello     *keeperv1.HelloResponse
	running   context.Context // Run's; nil before and after it
	tasks     sync.WaitGroup  // what Run waits for
	started   int             // pid of a keeper that is our child and was not reaped
	end       keeperEnd       // of the last one, once it is reaped

	// Run's alone.
	before   keeperEnd // of the keeper before the one that was started last
	told     int       // pid of the last one that was told of
	failed   bool      // it was told that there can be none
	isSynced bool
}

// NewClient returns a client; Run makes it work.
func NewClient(cfg ClientConfig) (*Client, error) {
	c := &Client{
		cfg: cfg,
		host: resolve.Host{
			Accounts: resolve.System, StateDir: cfg.StateDir, AppUser: cfg.AppUser, Base: cfg.Env,
			UID: os.Geteuid(), GID: os.Getegid(),
		},
		synced:    make(chan struct{}),
		ended:     make(chan struct{}),
		processes: map[app.InstanceID]*Process{},
		abandoned: map[app.InstanceID]bool{},
	}
	conn, err := grpc.NewClient("passthrough:///keeper", append(rpc.DialOptions(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return dialPrivate(ctx, socketPath(cfg.StateDir))
		}),
		// A keeper that was started again is to be found at once.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 2, MaxDelay: 100 * time.Millisecond},
			MinConnectTimeout: startTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))...)
	if err != nil {
		return nil, err
	}
	c.conn, c.rpc = conn, keeperv1.NewKeeperServiceClient(conn)
	return c, nil
}

// Close ends the use of a client whose Run has ended, or never was.
func (c *Client) Close() error { return c.conn.Close() }

// retryKeeper is how often a keeper that there cannot be is tried again.
const retryKeeper = time.Second

// Run keeps a keeper there and follows what it tells. It fails where at its
// beginning there is none to be had, or one that speaks another protocol; one that
// was found on its way out is only waited for. Later it tries again whatever
// happens. It is run once.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer c.stop(cancel)
	c.mu.Lock()
	c.running = ctx
	c.mu.Unlock()
	if os.Getpid() == firstPID {
		c.spawn(c.reapStrays)
	}
	patience := time.Now().Add(2 * startTimeout)
	for {
		err := c.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		gone := status.Code(err) == codes.Unavailable // it has died, or is leaving
		if !c.hasSynced() && (!gone || time.Now().After(patience)) {
			return err
		}
		c.cfg.Log.Warn("lost the keeper", "error", err)
		if !gone && !c.failed && c.cfg.KeeperFailed != nil {
			c.cfg.KeeperFailed(err)
		}
		c.failed = !gone || c.failed
		if !gone { // none can be started, or it is one that this daemon cannot talk to
			t := time.NewTimer(retryKeeper)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// stop ends all that Run and what was called meanwhile have started.
func (c *Client) stop(cancel func()) {
	cancel()
	close(c.ended)
	c.mu.Lock()
	c.running = nil
	c.mu.Unlock()
	for _, p := range c.all() {
		p.closeNotify()
	}
	c.tasks.Wait()
	for _, p := range c.all() { // now that nobody begins to hold one any more
		p.release()
	}
}

// all are the processes that are known now.
func (c *Client) all() []*Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.processes))
}

func (c *Client) hasSynced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isSynced
}

// session is the time with one keeper.
func (c *Client) session(ctx context.Context) error {
	hello, err := c.greet(ctx)
	if err != nil {
		return err
	}
	if hello.GetProtocol() != Protocol {
		return fmt.Errorf("the keeper that runs (pid %d, version %s) speaks protocol %d, and this roostd %s protocol %d, so its apps cannot be taken over: "+
			"start roostd %s again, end it and its apps with `roostctl shutdown`, and then start this one",
			hello.GetPid(), hello.GetVersion(), hello.GetProtocol(), c.cfg.Version, Protocol, hello.GetVersion())
	}
	ending := hello.GetAbilities()[endingAbility] != "" // it was left with what could not be killed
	if (ending || hello.GetVersion() != c.cfg.Version) && !c.hasSynced() {
		return c.replaceKeeper(ctx, hello)
	}
	c.greeted(hello)
	exits := &keeperv1.ReportExitsRequest{Exits: c.missedExits()}
	if _, err := c.rpc.ReportExits(ctx, exits, grpc.WaitForReady(false)); err != nil {
		return err
	}
	watch, err := c.rpc.Watch(ctx, &keeperv1.WatchRequest{}, grpc.WaitForReady(false))
	if err != nil {
		return err
	}
	seen := map[app.InstanceID]bool{}
	for {
		m, err := watch.Recv()
		switch {
		case err != nil:
			return lost(err)
		case m.GetSynced():
			if err := c.sync(ctx, seen); err != nil {
				return err
			}
		case m.GetOrphan() != nil:
			if o := m.GetOrphan(); c.cfg.Orphan != nil {
				c.cfg.Orphan(int(o.GetPid()), int(o.GetUid()), o.GetKilled())
			}
		case m.GetDeleted() != nil:
			if d := m.GetDeleted(); c.cfg.LogsDeleted != nil {
				c.cfg.LogsDeleted(d.GetApp(), d.GetBytes(), d.GetBytesForAll())
			}
		case m.GetRecord() != nil:
			id := app.InstanceID(m.GetRecord().GetInstance())
			seen[id] = true
			if c.isAbandoned(id) {
				c.reclaim(id)
				continue
			}
			c.apply(m.GetRecord())
		}
	}
}

// greeted is for a keeper that works.
func (c *Client) greeted(hello *keeperv1.HelloResponse) {
	pid := int(hello.GetPid())
	c.mu.Lock()
	c.hello = hello
	ours := c.started == pid
	c.mu.Unlock()
	if ours && c.told != pid && c.cfg.KeeperStarted != nil {
		c.cfg.KeeperStarted(pid, c.before.how)
	}
	c.told, c.failed = pid, false
}

// lost says of a watch that has ended that the keeper is gone.
func lost(err error) error {
	return status.Error(codes.Unavailable, status.Convert(err).Message())
}

// greet finds a keeper, or starts one. What answers at the socket may be a keeper
// on its way out, and gRPC's connection one that has gone, so both are tried again
// until they fit together.
func (c *Client) greet(ctx context.Context) (*keeperv1.HelloResponse, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*startTimeout, errors.New("the keeper does not answer"))
	defer cancel()
	const every = 5 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := c.ensure(ctx); err != nil {
			return nil, err
		}
		hello, err := c.rpc.Hello(ctx, &keeperv1.HelloRequest{LogMaxTotal: c.cfg.LogMaxTotal}, grpc.WaitForReady(false))
		if status.Code(err) != codes.Unavailable {
			return hello, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
		if end := c.reapKeeper(); end.failed { // it cannot do what it must, and neither will the next
			return nil, &startError{fmt.Errorf("it ended (%s): %s", end.how, lastLine(c.keeperLog()))}
		}
	}
}

// sync ends the first part of a watch: what was known and is not among the records
// seen is lost, unless it was launched while they were sent.
func (c *Client) sync(ctx context.Context, seen map[app.InstanceID]bool) error {
	c.mu.Lock()
	var missing []*Process
	for id, p := range c.processes {
		if !seen[id] && p.launched() {
			missing = append(missing, p)
		}
	}
	c.mu.Unlock()
	if len(missing) > 0 {
		list, err := c.rpc.List(ctx, &keeperv1.ListRequest{})
		if err != nil {
			return err
		}
		there := map[app.InstanceID]bool{}
		for _, r := range list.GetRecords() {
			there[app.InstanceID(r.GetInstance())] = true
		}
		for _, p := range missing {
			if !there[p.id] {
				p.lose()
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isSynced {
		c.isSynced = true
		close(c.synced)
	}
	return nil
}

// process returns the process of an id and makes it where it is new.
func (c *Client) process(id app.InstanceID) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.processes[id]
	if p == nil {
		p = newProcess(c, id)
		c.processes[id] = p
	}
	return p
}

func (c *Client) apply(r *keeperv1.Record) {
	c.process(app.InstanceID(r.GetInstance())).apply(r)
}

func (c *Client) drop(id app.InstanceID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.processes, id)
}

// spawn runs f, which must end with its context, as a part of Run.
func (c *Client) spawn(f func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		return false
	}
	ctx := c.running
	c.tasks.Go(func() { f(ctx) })
	return true
}

// wait waits until there is a keeper, and all that it knows is known here.
func (c *Client) wait(ctx context.Context) error {
	select {
	case <-c.synced:
		return nil
	case <-c.ended:
		return errors.New("there is no keeper")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Recover returns the processes of which there is a record, once all are here.
func (c *Client) Recover(ctx context.Context) ([]*Process, error) {
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*Process
	for _, p := range c.processes {
		if p.launched() {
			list = append(list, p)
		}
	}
	return list, nil
}

// Owner names the instance that a process is a member of, "" for none. An error
// means that nobody can tell: who decides by it what a process may do must then
// refuse.
func (c *Client) Owner(ctx context.Context, pid int) (app.InstanceID, error) {
	resp, err := c.rpc.Owner(ctx, &keeperv1.OwnerRequest{Pid: int32(pid)})
	if err != nil {
		return "", fmt.Errorf("whose process %d is: %w", pid, err)
	}
	return app.InstanceID(resp.GetInstance()), nil
}

// Gone tells that no process of an instance is left.
func (c *Client) Gone(instance string) bool {
	c.mu.Lock()
	p, synced := c.processes[app.InstanceID(instance)], c.isSynced
	c.mu.Unlock()
	if p == nil {
		return synced // it was forgotten
	}
	return isClosed(p.gone)
}

// Token returns the token of an instance: from before its launch until there is no
// output of it any more.
func (c *Client) Token(instance string) (string, bool) {
	info, ok := c.known(instance)
	return info.Token, ok
}

// Generation returns the generation that an instance is of, as long as its token is
// known; else 0.
func (c *Client) Generation(instance string) int64 {
	info, _ := c.known(instance)
	return info.Generation
}

// known is what is known of an instance, of one that was forgotten too.
func (c *Client) known(instance string) (app.ProcessInfo, bool) {
	c.mu.Lock()
	p := c.processes[app.InstanceID(instance)]
	c.mu.Unlock()
	if p != nil {
		return p.Info(), true
	}
	r, ok := recorded(c.cfg.StateDir, instance)
	return processInfo(r), ok
}

// KeeperInfo is what keeper there is.
type KeeperInfo struct {
	PID     int
	Version string
	// Abilities are lane, log_dir, and of memory, cpu and pids limits.X, how each is
	// kept ("" where it is not), and lacking.X, why not.
	Abilities map[string]string
}

// Keeper tells what keeper there is; false before the first.
func (c *Client) Keeper() (KeeperInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hello == nil {
		return KeeperInfo{}, false
	}
	return KeeperInfo{PID: int(c.hello.GetPid()), Version: c.hello.GetVersion(), Abilities: c.hello.GetAbilities()}, true
}

// Shutdown ends the keeper: with kill at once, with all that still runs, else when
// the last instance has ended. Run must be ended after it, or starts another.
func (c *Client) Shutdown(ctx context.Context, kill bool) error {
	_, err := c.rpc.Shutdown(ctx, &keeperv1.ShutdownRequest{Kill: kill}, grpc.WaitForReady(false))
	return err
}

// LimitLogs sets how much of an app's output is kept from now on.
func (c *Client) LimitLogs(ctx context.Context, name string, l app.Logs) error {
	_, err := c.rpc.LimitLogs(ctx, &keeperv1.LimitLogsRequest{App: name, Limits: logLimits(l)})
	return err
}

func logLimits(l app.Logs) *keeperv1.LogLimits {
	m := &keeperv1.LogLimits{MaxSize: l.MaxSize, Block: l.WhenFull == app.FullBlock}
	if l.MaxFiles != nil {
		m.MaxFiles = int32(*l.MaxFiles)
	}
	return m
}

// ResolveDir returns dir with its links resolved; it must be a folder.
func (c *Client) ResolveDir(dir string) (string, error) { return resolve.Dir(dir) }
