package keeper

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/keeper/resolve"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// secretsNote is the annotation that names the variables which must not expand
// into a command line, separated by blanks.
const secretsNote = "roost.secrets"

// probeTail is how much of a probe's output is kept, its end.
const probeTail = 4096

// Exec runs a probe's command beside an instance: as its user, in its folder, with
// its environment, in its cgroup. What is left of the command's tree after its end
// or its timeout is killed.
func (s *server) Exec(ctx context.Context, req *keeperv1.ExecRequest) (*keeperv1.ExecResponse, error) {
	i, ok := s.instance(req.GetInstance())
	if !ok {
		return nil, notFound(req.GetInstance())
	}
	var order spawn.Order
	var secrets string
	var err error
	alive := false
	i.do(ctx, func() {
		if alive = !isClosed(i.dead) && i.leader != nil; alive {
			i.probes.Add(1) // while clean cannot be waiting yet
			secrets = i.record.GetAnnotations()[secretsNote]
			order, err = i.order()
		}
	})
	if !alive {
		return nil, status.Errorf(codes.FailedPrecondition, "instance %s has ended", i.id)
	}
	defer i.probes.Done()
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "instance %s: %v", i.id, err)
	}
	if timeout := req.GetTimeout().AsDuration(); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errProbeTimeout)
		defer cancel()
	}
	resp, err := s.exec(ctx, i, order, req.GetArgv(), strings.Fields(secrets))
	if err != nil {
		return &keeperv1.ExecResponse{Failure: failureMessage(err)}, nil
	}
	return resp, nil
}

var errProbeTimeout = errors.New("the probe's timeout has passed")

func (s *server) exec(ctx context.Context, i *instance, o spawn.Order, argv, secrets []string) (*keeperv1.ExecResponse, error) {
	command, err := resolve.Lookup(argv, o.Dir, resolve.Environ(o.Env), secrets)
	if err != nil {
		return nil, &spawn.Error{Step: "command", Detail: err.Error()}
	}
	o.Path, o.Argv = command.Path, command.Argv
	name := probePrefix + strconv.FormatInt(time.Now().UnixNano(), 36)
	t, err := i.tree.Sub(name)
	if err != nil {
		return nil, stepError("cgroup", err)
	}
	defer func() { _ = t.Remove() }()
	o.Tree = t

	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, stepError("output", err)
	}
	_ = unix.SetNonblock(p[0], true)
	read, write := os.NewFile(uintptr(p[0]), "probe"), os.NewFile(uintptr(p[1]), "probe")
	o.Stdout, o.Stderr = write, write
	child, err := s.spawner.Start(o)
	_ = write.Close()
	defer read.Close()
	if err != nil {
		return nil, err
	}
	defer i.noteProbe(name, child)() // before it begins
	child.Go()
	defer child.Handle.Close()
	output := make(chan []byte, 1)
	go func() { output <- readTail(read) }()
	resp := s.waitProbe(ctx, i, t, child)
	_ = read.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // nobody is left to write
	resp.Output = <-output
	if err := child.Running(); err != nil {
		return nil, err
	}
	return resp, nil
}

// waitProbe waits for a probe's end, kills its tree, and says how it ended.
func (s *server) waitProbe(ctx context.Context, i *instance, t tree.Tree, child *spawn.Child) *keeperv1.ExecResponse {
	resp := &keeperv1.ExecResponse{}
	var st spawn.Status
	select {
	case st = <-child.Exited:
	case <-i.dead:
	case <-ctx.Done():
		resp.TimedOut = errors.Is(context.Cause(ctx), errProbeTimeout)
	}
	kill, cancel := context.WithTimeout(s.life, time.Second)
	defer cancel()
	// The tree first: while its leader lives, who descends from it can be told.
	if err := t.Kill(kill); err != nil {
		s.cfg.Log.Warn("cannot kill what a probe left", "instance", i.id, "error", err)
	}
	if st.Time.IsZero() {
		_ = child.Handle.Signal(unix.SIGKILL)
		st = <-child.Exited
	}
	resp.Exit = exitMessage(exit{status: st})
	return resp
}

// readTail reads to the end, or to the read deadline, and returns the last of it.
func readTail(r io.Reader) []byte {
	var tail []byte
	buf := make([]byte, probeTail)
	for {
		n, err := r.Read(buf)
		tail = append(tail, buf[:n]...)
		if len(tail) > probeTail {
			tail = tail[len(tail)-probeTail:]
		}
		if err != nil {
			return tail
		}
	}
}
