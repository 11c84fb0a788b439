package keeper

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// Launch spawns an instance. Once begun it goes on though the caller leaves.
func (s *server) Launch(_ context.Context, req *keeperv1.LaunchRequest) (*keeperv1.LaunchResponse, error) {
	if err := checkLaunch(req); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	i, err := s.reserve(req.GetInstance(), launchUID(req))
	switch {
	case errors.Is(err, errEnding):
		return nil, status.Error(codes.Unavailable, err.Error())
	case err != nil:
		return nil, status.Error(codes.AlreadyExists, err.Error())
	}
	l := &launching{server: s, instance: i, req: req, address: req.GetAddress()}
	if err := l.launch(); err != nil {
		l.undo()
		close(i.gone)
		s.drop(i)
		return &keeperv1.LaunchResponse{Failure: failureMessage(err)}, nil
	}
	return &keeperv1.LaunchResponse{Record: l.record}, nil
}

var errRequest = errors.New("not a launch that can be: names, absolute paths and no zero bytes are wanted")

func checkLaunch(r *keeperv1.LaunchRequest) error {
	ok := validID.MatchString(r.GetInstance()) && validApp.MatchString(r.GetApp()) && len(r.GetArgv()) > 0 &&
		filepath.IsAbs(r.GetPath()) && filepath.IsAbs(r.GetDir())
	for _, list := range [][]string{r.GetArgv(), r.GetEnv(), {r.GetPath(), r.GetDir()}} {
		for _, text := range list {
			ok = ok && !strings.Contains(text, "\x00")
		}
	}
	if !ok {
		return errRequest
	}
	return nil
}

func failureMessage(err error) *keeperv1.LaunchFailure {
	if e, ok := errors.AsType[*spawn.Error](err); ok {
		return &keeperv1.LaunchFailure{Step: e.Step, Errno: int32(e.Errno), Detail: e.Detail}
	}
	return &keeperv1.LaunchFailure{Step: "fork", Detail: err.Error()}
}

// stepError says at which step a launch failed.
func stepError(step string, err error) error {
	if err == nil {
		return nil
	}
	e := &spawn.Error{Step: step, Detail: err.Error()}
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		e.Detail = pe.Path
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		e.Errno = errno
	}
	return e
}

// launching is a launch on its way.
type launching struct {
	server   *server
	instance *instance
	req      *keeperv1.LaunchRequest
	address  string
	record   *keeperv1.Record
	child    *spawn.Child
	order    spawn.Order
	appEnds  []*os.File // what the app gets and the keeper must not keep
}

func (l *launching) launch() error {
	i, s := l.instance, l.server
	if err := stepError("record", s.spare.take(i.dir)); err != nil {
		return err
	}
	l.order = spawn.Order{
		Path: l.req.GetPath(), Argv: l.req.GetArgv(), Env: l.req.GetEnv(), Dir: l.req.GetDir(),
		Umask: int(l.req.GetUmask()), NoFile: int(l.req.GetNofile()), Credential: credential(l.req.GetCredential()),
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{{"output", l.openOutput}, {"cgroup", l.makeTree}, {"socket", l.listen}} {
		if err := stepError(step.name, step.do()); err != nil {
			return err
		}
	}
	begun := time.Now()
	child, err := s.spawner.Start(l.order)
	l.closeAppEnds()
	if err != nil {
		return err
	}
	l.child, i.leader = child, &child.Handle
	l.record = l.newRecord(begun)
	// What follows is done while roost-exec is on its way. The record is first: a
	// keeper that dies before it leaves no app behind.
	if err := stepError("record", writeRecord(i.dir, l.record)); err != nil {
		return err
	}
	child.Go()
	if err := stepError("output", l.createLogs()); err != nil {
		return err
	}
	if err := child.Running(); err != nil {
		return err
	}
	return l.settle()
}

// settle hands the instance to its goroutine.
func (l *launching) settle() error {
	i, s := l.instance, l.server
	order := l.order
	order.Stdout, order.Stderr, order.Socket = nil, nil, nil
	i.order = func() (spawn.Order, error) { return order, nil }
	i.reaped = l.child.Exited
	i.record = l.record // written already
	i.watchSegments()
	s.copyOutput(i, l.record, false)
	close(i.published) // first: who learns of the record may ask for the instance at once
	s.records.Set(i.id, l.record)
	s.tasks.Go(func() { i.run(s.life) })
	return nil
}

func (l *launching) newRecord(begun time.Time) *keeperv1.Record {
	i := l.instance
	r := &keeperv1.Record{
		Instance: i.id, App: l.req.GetApp(), Generation: l.req.GetGeneration(),
		Pid: int32(l.child.PID), StartTicks: l.child.Ticks, BootId: l.server.boot,
		Address: l.address, Token: l.req.GetToken(), StartTime: timestamppb.New(begun),
		Uid: uint32(i.uid), Cgroup: i.tree.Dir(), Annotations: maps.Clone(l.req.GetAnnotations()),
		Conditions: map[string]string{}, StdoutFile: recordedCopy(l.req), Logs: l.req.GetLogs(),
	}
	if why := l.server.lane.Condition(); why != "" {
		r.Conditions[app.CondBestEffortStop] = why
	}
	if len(i.limited.Lacking) > 0 {
		r.Conditions[app.CondLimitUnavailable] = strings.Join(i.limited.Lacking, "; ")
	}
	return r
}

// launchUID is whom an instance will run as.
func launchUID(r *keeperv1.LaunchRequest) int {
	if c := r.GetCredential(); c.GetSet() {
		return int(c.GetUid())
	}
	return os.Geteuid()
}

func credential(c *keeperv1.Credential) *spawn.Credential {
	if !c.GetSet() {
		return nil
	}
	cred := &spawn.Credential{UID: int(c.GetUid()), GID: int(c.GetGid())}
	for _, g := range c.GetGroups() {
		cred.Groups = append(cred.Groups, int(g))
	}
	return cred
}

// openOutput opens both ends of the two FIFOs: the app's for
// reading, too, so that its own descriptor keeps a reader alive and nobody's death
// breaks its writes. Both ends are separate opens, as they differ in O_NONBLOCK.
func (l *launching) openOutput() error {
	i, s := l.instance, l.server
	logs := filepath.Join(s.cfg.LogDir, l.req.GetApp(), i.id)
	for _, stream := range streams {
		end, err := l.openFIFO(filepath.Join(i.dir, stream))
		if err != nil {
			return err
		}
		l.appEnds = append(l.appEnds, end)
		p, err := pump.Open(s.poller, end.Name(), pump.Files{Dir: logs, Stream: stream, GID: s.logGID},
			s.cfg.Log.With("instance", i.id))
		if err != nil {
			return err
		}
		i.pumps = append(i.pumps, p)
	}
	l.order.Stdout, l.order.Stderr = l.appEnds[0], l.appEnds[1]
	return nil
}

// createLogs makes the files that the output goes to.
func (l *launching) createLogs() error {
	_, err := pump.MakeDir(l.server.cfg.LogDir, l.req.GetApp(), l.instance.id, l.server.logGID)
	for _, p := range l.instance.pumps {
		if err == nil {
			err = p.Create()
		}
	}
	return err
}

// openFIFO gives a FIFO to the app's user, who may open it again as /dev/stdout,
// and opens it as the app will have it.
func (l *launching) openFIFO(path string) (*os.File, error) {
	if c := l.order.Credential; c != nil {
		if err := os.Lchown(path, c.UID, c.GID); err != nil {
			return nil, err
		}
	}
	// Not by os.OpenFile, which would make it non-blocking, for the app too.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (l *launching) makeTree() (err error) {
	i, s := l.instance, l.server
	if i.tree, err = s.lane.New(i.id); err != nil {
		return err
	}
	i.limited, err = s.limiter.Set(i.id, i.tree, tree.Limits{
		Memory: l.req.GetMemory(), CPUMillis: l.req.GetCpuMillis(), Pids: l.req.GetPids(),
	})
	l.order.Tree, l.order.Procs = i.tree, i.limited.Procs
	return err
}

// listen makes the socket of listen.mode fd: on the loopback, on a port that the
// kernel picks, with the queue that a burst on a cold app needs.
func (l *launching) listen() error {
	if !l.req.GetListenFd() {
		return nil
	}
	const backlog = 4096
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "listening socket")
	l.appEnds = append(l.appEnds, f)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	port := name.(*unix.SockaddrInet4).Port
	l.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l.order.Socket = f
	return nil
}

func (l *launching) closeAppEnds() {
	for _, f := range l.appEnds {
		_ = f.Close()
	}
	l.appEnds = nil
}

// undo removes all traces of a launch that failed, a child first.
func (l *launching) undo() {
	i, s := l.instance, l.server
	l.closeAppEnds()
	if c := l.child; c != nil {
		_ = c.Handle.Signal(unix.SIGKILL) // in no cgroup yet, maybe
		<-c.Exited
		_ = c.Running() // closes its pipe
		c.Handle.Close()
	}
	if i.tree != nil {
		i.kill(s.life)
		if err := errors.Join(i.tree.Remove(), i.limited.Remove()); err != nil {
			s.cfg.Log.Warn("cannot remove a cgroup", "instance", i.id, "error", err)
		}
	}
	for _, p := range i.pumps {
		p.Close()
	}
	_ = os.RemoveAll(i.dir)
	if validApp.MatchString(l.req.GetApp()) {
		_ = os.RemoveAll(filepath.Join(s.cfg.LogDir, l.req.GetApp(), i.id)) // it never wrote
	}
}
