package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	"github.com/roostd/roost/daemon/internal/keeper/stdoutfile"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	"github.com/roostd/roost/daemon/internal/trim"
	"github.com/roostd/roost/daemon/internal/watch"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
	"github.com/roostd/roost/internal/rpc"
	"github.com/roostd/roost/internal/rungroup"
)

// server is a running keeper.
type server struct {
	keeperv1.UnimplementedKeeperServiceServer
	cfg       Config
	boot      string
	logGID    int
	lane      tree.Lane
	limiter   *tree.Limiter
	spawner   *spawn.Spawner
	roostExec *os.File
	poller    *pump.Poller
	retention *retention
	copies    *stdoutfile.Open
	spare     *spare
	records   *watch.Hub[string, *keeperv1.Record]
	orphans   *watch.Hub[int, *keeperv1.Orphan]         // by pid: those that are there
	deleted   *watch.Hub[string, *keeperv1.LogsDeleted] // by app
	changed   chan struct{}                             // one slot: an instance or a client came or went
	life      context.Context                           // ends when the keeper does: of what belongs to an instance

	reported chan struct{} // closed once the daemon has told the exits that it saw
	leaving  chan struct{} // closed when the instances are to be left to the next keeper
	leave    sync.Once     // closes leaving

	mu        sync.Mutex
	instances map[string]*instance
	reports   map[string]*keeperv1.Exit // that the daemon saw, by instance
	ending    bool                      // no new instances
	clients   int
	swept     time.Time      // when what was forgotten was last looked through
	tasks     sync.WaitGroup // one an instance
}

// Run is the keeper. It ends when it was told to, by Shutdown, by a signal or by
// the end of ctx, and no instance is left; or when it has had neither instance
// nor client for a while. A keeper that is killed leaves its apps running.
func Run(ctx context.Context, cfg Config) error {
	nameProcess()
	unix.Umask(0o022) // what is stricter says so, what must be laxer is set after
	if err := spawn.DefaultReservedSignals(); err != nil {
		return fmt.Errorf("signals that were ignored cannot be reset for the apps: %w", err)
	}
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	defer s.poller.Close()
	defer s.roostExec.Close()
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if s.lane, err = tree.Detect(cfg.StateDir, cfg.Lane); err != nil {
		return err
	}
	defer s.lane.Close()
	defer s.limiter.Close()
	l, err := listenPrivate(socketPath(cfg.StateDir), s.countClients)
	if err != nil {
		return err
	}
	defer os.Remove(socketPath(cfg.StateDir)) // while the lock is held: it is ours
	return s.run(ctx, l)
}

func newServer(cfg Config) (*server, error) {
	cfg.Idle = cmp.Or(cfg.Idle, defaultIdle)
	boot, err := proc.BootID()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(instancesDir(cfg.StateDir), 0o700); err != nil {
		return nil, err
	}
	poller, err := pump.NewPoller()
	if err != nil {
		return nil, err
	}
	exec, err := holdExec(cfg.Exec)
	if err != nil {
		poller.Close()
		return nil, err
	}
	return &server{
		cfg:     cfg,
		boot:    boot,
		logGID:  logGroup(cfg.LogGroup),
		limiter: tree.NewLimiter(cfg.StateDir),
		// Go's runtime needs neither threads nor a collector for the little that
		// roost-exec does, and is there a quarter sooner without.
		spawner: &spawn.Spawner{
			Reaper: spawn.NewReaper(), Exec: exec.Name(), Args: []string{"roost-exec"}, Env: []string{"GOMAXPROCS=1", "GOGC=off"},
			Keep: int(exec.Fd()),
		},
		roostExec: exec,
		poller:    poller,
		copies:    &stdoutfile.Open{},
		spare:     newSpare(instancesDir(cfg.StateDir)),
		records:   watch.NewHub[string, *keeperv1.Record](),
		orphans:   watch.NewHub[int, *keeperv1.Orphan](),
		deleted:   watch.NewHub[string, *keeperv1.LogsDeleted](),
		retention: newRetention(),
		changed:   make(chan struct{}, 1),
		reported:  make(chan struct{}),
		leaving:   make(chan struct{}),
		instances: map[string]*instance{},
	}, nil
}

// logGroup returns the gid of the group that may read logs, -1 for none.
func logGroup(name string) int {
	if name == "" || os.Geteuid() != 0 {
		return -1
	}
	g, err := resolve.System.Group(name)
	if err != nil {
		return -1
	}
	return g.GID
}

// lock keeps a second keeper from the state dir for as long as this one lives.
func (s *server) lock() (unlock func(), err error) {
	path := filepath.Join(s.cfg.StateDir, "keeper.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s is held: another keeper serves this state dir: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

func (s *server) run(ctx context.Context, l *privateListener) error {
	// The apps' lives do not depend on ctx, so nothing of theirs may.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	s.life = life
	g := grpc.NewServer(rpc.ServerOptions()...)
	keeperv1.RegisterKeeperServiceServer(g, s)
	defer s.noteLastExits()
	defer s.tasks.Wait()
	defer end()

	recovered := make(chan struct{})
	return rungroup.Run(life,
		rungroup.Task{Name: "reaper", Run: func(ctx context.Context) error {
			return s.spawner.Reaper.Run(ctx)
		}},
		rungroup.Task{Name: "server", Run: func(life context.Context) error {
			err := s.takeOverAll()
			close(recovered)
			if err != nil {
				return err
			}
			s.cfg.Log.Info("listening", "listener", "unix", "address", l.Addr().String(), "lane", s.lane.Name())
			const grace = 5 * time.Second // for the answer to Shutdown
			return rpc.Serve(life, g, l, grace)
		}},
		rungroup.Task{Name: "poller", Run: s.poller.Run},
		rungroup.Task{Name: "spare", Run: func(ctx context.Context) error {
			<-recovered // which removes folders without a record
			return s.spare.run(ctx)
		}},
		rungroup.Task{Name: "retention", Run: func(ctx context.Context) error {
			<-recovered // before it, nobody can tell who still writes
			return s.retain(ctx)
		}},
		rungroup.Task{Name: "orphans", Run: s.sweepOrphans},
		rungroup.Task{Name: "memory", Run: trim.Run},
		rungroup.Task{Name: "end", Run: func(life context.Context) error {
			<-recovered
			s.waitForEnd(ctx, life)
			end()
			return nil
		}},
	)
}

// waitForEnd returns when the keeper may end.
func (s *server) waitForEnd(ctx, life context.Context) {
	// Caught so that none is ignored in an app because it was when the keeper
	// started: what is caught is reset in a child.
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(told)
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(dropped)

	idle := time.NewTimer(s.cfg.Idle)
	defer idle.Stop()
	asked := ctx.Done()
	for {
		live, clients, ending := s.census()
		if live == 0 && ending {
			s.killChildren(life)
			return
		}
		if live > 0 || clients > 0 {
			idle.Reset(s.cfg.Idle)
		}
		select {
		case <-life.Done():
			return
		case <-s.leaving:
			return
		case <-asked:
			asked = nil
			s.end()
		case <-told:
			s.end()
		case <-s.changed:
		case <-dropped:
		case <-idle.C:
			if live == 0 && clients == 0 {
				s.end()
			}
		}
	}
}

// end refuses new instances from now on.
func (s *server) end() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.wake()
}

func (s *server) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *server) countClients(n int) {
	s.mu.Lock()
	s.clients += n
	s.mu.Unlock()
	s.wake()
}

// census counts the instances that have processes, and the clients.
func (s *server) census() (live, clients int, ending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		if !i.isGone() {
			live++
		}
	}
	return live, s.clients, s.ending
}

var errEnding = errors.New("the keeper is ending")

// reserve makes room for an instance, so that an id is used once.
func (s *server) reserve(id string, uid int) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return nil, errEnding
	}
	if s.instances[id] != nil {
		return nil, fmt.Errorf("instance %s: %w", id, os.ErrExist)
	}
	i := newInstance(s, id, uid)
	s.instances[id] = i
	return i, nil
}

// drop forgets an instance.
func (s *server) drop(i *instance) {
	s.mu.Lock()
	delete(s.instances, i.id)
	s.mu.Unlock()
	s.records.Delete(i.id)
	s.wake()
}

func (s *server) instance(id string) (*instance, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.instances[id]
	return i, ok && i.known()
}

func (s *server) all() []*instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*instance
	for _, i := range s.instances {
		if i.known() {
			list = append(list, i)
		}
	}
	return list
}
