package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/proc"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// The client's own annotations; they are not among the notes of a process.
const (
	ownNote       = "roost."
	notifyNote    = "roost.notify"     // it has a notify socket
	notifiedNote  = "roost.notified"   // it has said READY=1
	conditionNote = "roost.condition." // + type
)

// Process is one launched process tree, as the keeper last told of it.
type Process struct {
	client   *Client
	id       app.InstanceID
	exited   chan struct{}
	gone     chan struct{}
	notified chan struct{}

	mu     sync.Mutex
	info   app.ProcessInfo
	exit   app.Exit
	notify *notifier
	fault  string   // of the copy of its output, as it was told
	output told     // of its output
	held   *holding // while it is not gone
}

func newProcess(c *Client, id app.InstanceID) *Process {
	return &Process{
		client: c, id: id,
		exited: make(chan struct{}), gone: make(chan struct{}), notified: make(chan struct{}),
	}
}

// expect makes known what those who read output must know of a process that is about
// to be launched: its first may be read before the keeper has answered.
func (p *Process) expect(token string, generation int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.info.PID == 0 {
		p.info.Token, p.info.Generation = token, generation
	}
}

// launched tells whether it is known to have been spawned.
func (p *Process) launched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info.PID != 0
}

// apply takes over what the keeper's record says. It never goes back: what has
// ended stays so.
func (p *Process) apply(r *keeperv1.Record) {
	if !r.GetGone() && !p.launched() {
		p.client.spawn(func(context.Context) { p.hold(r) }) // beside the start, which does not wait for it
	}
	p.mu.Lock()
	first := p.info.PID == 0
	p.info = processInfo(r)
	if e := r.GetExit(); e != nil && !isClosed(p.exited) {
		p.exit = exitOf(e)
		close(p.exited)
	}
	gone := r.GetGone() && !isClosed(p.gone)
	if gone {
		close(p.gone)
	}
	if r.GetAnnotations()[notifiedNote] != "" {
		p.setNotified()
	}
	rebind := first && !r.GetGone() && p.notify == nil && r.GetAnnotations()[notifyNote] != "" && !isClosed(p.notified)
	p.mu.Unlock()
	p.tellFault(r.GetStdoutFault(), r.GetAnnotations()[toldNote])
	p.tellOutput(r.GetOutput(), r.GetAnnotations()[outputToldNote])
	switch {
	case gone:
		p.release()
		p.closeNotify()
		p.client.removeRunDir(p.id)
	case rebind: // of an earlier daemon
		if err := p.listenNotify(int(r.GetUid()), -1); err != nil {
			p.client.cfg.Log.Warn("cannot listen for sd_notify again", "instance", p.id, "error", err)
		}
	}
}

// lose is for a process that no keeper knows any more.
func (p *Process) lose() {
	p.mu.Lock()
	if !isClosed(p.exited) {
		p.exit = app.Exit{Unknown: true, Time: time.Now()}
		close(p.exited)
	}
	if !isClosed(p.gone) {
		close(p.gone)
	}
	p.mu.Unlock()
	p.release()
	p.closeNotify()
	p.client.removeRunDir(p.id)
}

// setNotified is called with p.mu held.
func (p *Process) setNotified() {
	if !isClosed(p.notified) {
		close(p.notified)
	}
}

func processInfo(r *keeperv1.Record) app.ProcessInfo {
	info := app.ProcessInfo{
		ID: app.InstanceID(r.GetInstance()), App: r.GetApp(), Generation: r.GetGeneration(), PID: int(r.GetPid()),
		StartTime: r.GetStartTime().AsTime(), Began: proc.Began(r.GetStartTicks()), UID: int(r.GetUid()), Address: r.GetAddress(), Token: r.GetToken(),
		Cgroup: r.GetCgroup(), Conditions: maps.Clone(r.GetConditions()), Notes: map[string]string{},
		Output: outputOf(r.GetOutput()),
	}
	if info.Conditions == nil {
		info.Conditions = map[string]string{}
	}
	for k, v := range r.GetAnnotations() {
		if condition, ok := strings.CutPrefix(k, conditionNote); ok {
			info.Conditions[condition] = v
		} else if !strings.HasPrefix(k, ownNote) {
			info.Notes[k] = v
		}
	}
	return info
}

func exitOf(e *keeperv1.Exit) app.Exit {
	return app.Exit{
		Code: int(e.GetCode()), Signal: syscall.Signal(e.GetSignal()), OOM: e.GetOom(), Unknown: e.GetUnknown(), Time: e.GetTime().AsTime(),
	}
}

// Info is what is known of it.
func (p *Process) Info() app.ProcessInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

// Exited is closed when the leader has ended; the keeper then kills what is left
// of its tree.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit is valid once Exited is closed.
func (p *Process) Exit() app.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// Gone is closed when no process of the tree is left.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Notified is closed once a process of the tree has sent READY=1.
func (p *Process) Notified() <-chan struct{} { return p.notified }

// Signal signals the leader. An ended one is no error.
func (p *Process) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := p.client.rpc.Signal(ctx, &keeperv1.SignalRequest{Instance: string(p.id), Signal: int32(sig)})
	return ignoreNotFound(err)
}

// Kill kills the whole tree and returns when none of it is left.
func (p *Process) Kill(ctx context.Context) error {
	_, err := p.client.rpc.Kill(ctx, &keeperv1.KillRequest{Instance: string(p.id)})
	return ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

// Pids lists the live processes of the tree.
func (p *Process) Pids(ctx context.Context) ([]int, error) {
	resp, err := p.client.rpc.Members(ctx, &keeperv1.MembersRequest{Instance: string(p.id)})
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	pids := make([]int, 0, len(resp.GetPids()))
	for _, pid := range resp.GetPids() {
		pids = append(pids, int(pid))
	}
	return pids, nil
}

// Memory tells how many bytes the processes of the tree use together, swapped out
// ones included. What they share counts once, but for a sum that is not above the
// limit anyway.
func (p *Process) Memory(ctx context.Context, above int64) (int64, error) {
	resp, err := p.client.rpc.Memory(ctx, &keeperv1.MemoryRequest{Instance: string(p.id), Above: above})
	if err != nil {
		return 0, ignoreNotFound(err)
	}
	return resp.GetBytes(), nil
}

// Annotate adds notes to the record, for a later daemon's Recover.
func (p *Process) Annotate(ctx context.Context, notes map[string]string) error {
	_, err := p.client.rpc.Annotate(ctx, &keeperv1.AnnotateRequest{Instance: string(p.id), Annotations: notes})
	return err
}

// Unblock lets it write beyond its app's limits, one more segment a stream.
func (p *Process) Unblock(ctx context.Context) error {
	_, err := p.client.rpc.Unblock(ctx, &keeperv1.UnblockRequest{Instance: string(p.id)})
	return ignoreNotFound(err)
}

// Forget drops the record of a process that is gone. Its output stays.
func (p *Process) Forget(ctx context.Context) error {
	if _, err := p.client.rpc.Forget(ctx, &keeperv1.ForgetRequest{Instance: string(p.id)}); err != nil {
		return err
	}
	p.client.drop(p.id)
	return nil
}

// Exec runs a probe's command beside the process, as its user and with its
// environment, which its ${NAME} mean. A nil error says that it exited 0.
func (p *Process) Exec(ctx context.Context, argv []string, timeout time.Duration) error {
	timeout = within(ctx, timeout)
	ctx, cancel := outlast(ctx, timeout)
	defer cancel()
	resp, err := p.client.rpc.Exec(ctx, &keeperv1.ExecRequest{
		Instance: string(p.id), Argv: argv, Timeout: durationpb.New(timeout),
	})
	if status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("%s did not end within %v", argv[0], timeout)
	}
	if err != nil {
		return err
	}
	if f := resp.GetFailure(); f != nil {
		if f.GetErrno() == 0 {
			return errors.New(f.GetDetail())
		}
		return fmt.Errorf("%s %s: %w", f.GetStep(), f.GetDetail(), syscall.Errno(f.GetErrno()))
	}
	output := ""
	if text := strings.TrimSpace(string(resp.GetOutput())); text != "" {
		output = ": " + text
	}
	switch e := resp.GetExit(); {
	case resp.GetTimedOut():
		return fmt.Errorf("%s did not end within %v%s", argv[0], timeout, output)
	case e.GetSignal() != 0:
		return fmt.Errorf("%s was ended by %v%s", argv[0], syscall.Signal(e.GetSignal()), output)
	case e.GetCode() != 0:
		return fmt.Errorf("%s exited with code %d%s", argv[0], e.GetCode(), output)
	}
	return nil
}

// within returns how long a probe may take: its timeout, or what is left of ctx
// where that is notably less.
func within(ctx context.Context, timeout time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return timeout
	}
	left := time.Until(deadline)
	if timeout <= 0 || left < timeout-timeout/10 {
		return max(left.Round(time.Millisecond), time.Millisecond)
	}
	return timeout
}

// outlast returns a context that is cancelled with ctx but passes over its
// deadline: the keeper ends the probe at its timeout and says what that wrote,
// and a deadline that comes first would leave nothing but itself to tell.
func outlast(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	const grace = 2 * time.Second // the keeper has a second to kill what the probe left
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	longer, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+grace)
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	return longer, func() { stop(); cancel() }
}

func (p *Process) closeNotify() {
	p.mu.Lock()
	n := p.notify
	p.notify = nil
	p.mu.Unlock()
	if n != nil {
		n.close()
	}
}

func (c *Client) removeRunDir(id app.InstanceID) {
	if err := os.RemoveAll(c.runDir(id)); err != nil {
		c.cfg.Log.Warn("cannot remove an instance's sockets", "instance", id, "error", err)
	}
}
