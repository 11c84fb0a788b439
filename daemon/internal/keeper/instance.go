package keeper

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	"github.com/roostd/roost/daemon/internal/keeper/stdoutfile"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// instance is one process tree. Its goroutine (run) alone changes its record and
// uses its leader's handle; others send it functions.
type instance struct {
	server *server
	id     string
	dir    string
	uid    int // whom it runs as

	// Set before run starts.
	tree    tree.Tree
	limited *tree.Limited
	leader  *proc.Handle                // nil where it had ended before this keeper was there
	reaped  <-chan spawn.Status         // of a child: how the leader ended
	exited  <-chan exit                 // of one that is no child of this keeper
	order   func() (spawn.Order, error) // what a probe beside it is run like
	pumps   []*pump.Pump
	copy    *stdoutfile.Copy // nil where none is wanted

	mailbox   chan func()
	published chan struct{} // closed once it has a record
	dead      chan struct{} // closed when the leader has ended
	killed    chan struct{} // closed when its tree is empty for good
	gone      chan struct{} // closed when no process of it is left
	forgotten chan struct{} // closed when run has ended
	once      sync.Once     // closes forget
	forget    chan struct{}
	record    *keeperv1.Record // run's; replaced, never changed
	probes    sync.WaitGroup
	output    output
	condemned atomic.Bool // somebody wanted it killed
}

// exit is how a leader ended, as far as it is known.
type exit struct {
	status  spawn.Status
	unknown bool
	told    *keeperv1.Exit // somebody else has seen it
}

func newInstance(s *server, id string, uid int) *instance {
	return &instance{
		server: s, id: id, dir: instanceDir(s.cfg.StateDir, id), uid: uid,
		mailbox: make(chan func()), published: make(chan struct{}), dead: make(chan struct{}),
		killed: make(chan struct{}), gone: make(chan struct{}), forgotten: make(chan struct{}), forget: make(chan struct{}),
		output: newOutput(),
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (i *instance) isGone() bool { return isClosed(i.gone) }

func (i *instance) known() bool { return isClosed(i.published) }

// publish makes r the instance's record: on disk first, then for all to see.
func (i *instance) publish(r *keeperv1.Record) error {
	err := writeRecord(i.dir, r)
	i.record = r
	i.server.records.Set(i.id, r)
	return err
}

// change publishes a changed copy of the record. A disk that is full keeps the
// copy on disk behind: the next change brings it up.
func (i *instance) change(f func(*keeperv1.Record)) {
	r := proto.CloneOf(i.record)
	f(r)
	if err := i.publish(r); err != nil {
		i.server.cfg.Log.Error("cannot write a record", "instance", i.id, "error", err)
	}
}

// do has f called by the instance's goroutine, and waits for it. It is false
// where the instance is forgotten.
func (i *instance) do(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case i.mailbox <- func() { defer close(done); f() }:
		<-done
		return true
	case <-i.forgotten:
		return false
	case <-ctx.Done():
		return false
	}
}

// run owns the instance from its record's first publication until it is forgotten
// or the keeper ends.
func (i *instance) run(ctx context.Context) {
	defer close(i.forgotten)
	pumps := i.runPumps()
	var cleaned chan struct{}
	ended := func(e exit) {
		i.reaped, i.exited = nil, nil
		i.end(e)
		cleaned = make(chan struct{})
		go func() {
			defer close(cleaned)
			i.clean(ctx, pumps)
		}()
	}
	for {
		select {
		case st := <-i.reaped:
			ended(exit{status: st})
		case e := <-i.exited:
			ended(e)
		case <-cleaned:
			cleaned = nil
			close(i.gone) // first: who reads it in the record may forget it at once
			i.change(func(r *keeperv1.Record) { r.Gone, r.Output = true, i.output.message() })
			i.server.retention.look(i.record.GetApp()) // not when it starts: a start waits for nothing
			i.server.wake()
		case <-i.output.changed:
			if now := i.output.message(); !proto.Equal(now, i.record.GetOutput()) {
				i.change(func(r *keeperv1.Record) { r.Output = now })
			}
		case f := <-i.mailbox:
			f()
		case <-i.forget:
			i.remove()
			return
		case <-ctx.Done():
			if cleaned != nil {
				<-cleaned
			}
			for _, p := range i.pumps {
				p.Leave()
			}
			<-pumps
			i.finishCopy()
			return
		}
	}
}

// runPumps starts the pumps; the channel is closed when they have ended. The last
// one closes it: a goroutine that waits for them would be one more for each instance.
func (i *instance) runPumps() <-chan struct{} {
	done := make(chan struct{})
	var left atomic.Int32
	left.Add(int32(len(i.pumps)))
	if len(i.pumps) == 0 {
		close(done)
	}
	for _, p := range i.pumps {
		go func() {
			p.Run()
			if left.Add(-1) == 0 {
				close(done)
			}
		}()
	}
	return done
}

// noteLastExits records the exits that came as the keeper was ending and nobody heard
// any more. Of a child that it has reaped, no other can tell.
func (s *server) noteLastExits() {
	for _, i := range s.all() {
		select {
		case st := <-i.reaped:
			i.end(exit{status: st})
		case e := <-i.exited:
			i.end(e)
		default:
		}
	}
}

// end records the leader's exit.
func (i *instance) end(e exit) {
	if i.leader != nil {
		i.leader.Close()
	}
	m := exitMessage(e)
	// The kernel counts the kills of a tree, not whom: where it was a child, and the
	// leader went on until somebody had it killed, memory is not why that ended.
	m.Oom = m.Oom || i.limited.OOMKilled() && unix.Signal(m.GetSignal()) == unix.SIGKILL && !i.condemned.Load()
	i.change(func(r *keeperv1.Record) { r.Exit = m })
	close(i.dead)
}

func exitMessage(e exit) *keeperv1.Exit {
	switch {
	case e.told != nil:
		return proto.CloneOf(e.told)
	case e.unknown:
		return &keeperv1.Exit{Unknown: true, Time: timestamppb.Now()}
	}
	m := &keeperv1.Exit{Time: timestamppb.New(e.status.Time)}
	if e.status.Wait.Signaled() {
		m.Signal = int32(e.status.Wait.Signal())
	} else {
		m.Code = int32(e.status.Wait.ExitStatus())
	}
	return m
}

// clean ends what the leader left behind and saves its last output.
func (i *instance) clean(ctx context.Context, pumps <-chan struct{}) {
	i.kill(ctx)
	i.probes.Wait()
	close(i.killed)
	if i.server.lane.Condition() != "" {
		i.server.killUnowned(ctx)
		// Another instance of the user may just have gone, and this tree be the only
		// one left to name what both left behind.
		i.kill(ctx)
	}
	for _, p := range i.pumps {
		p.Finish()
	}
	<-pumps
	i.finishCopy()
	if err := errors.Join(i.tree.Remove(), i.limited.Remove()); err != nil {
		i.server.cfg.Log.Warn("cannot remove a cgroup", "instance", i.id, "error", err)
	}
}

// kill kills the tree, however often that takes.
func (i *instance) kill(ctx context.Context) {
	const again = time.Second
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, again)
		err := i.tree.Kill(try)
		cancel()
		if err == nil {
			return
		}
		pids, _ := i.tree.Pids()
		i.server.cfg.Log.Warn("processes are hard to kill", "instance", i.id, "pids", pids, "error", err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t := time.NewTimer(again)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// remove ends the instance's record. Its output stays.
func (i *instance) remove() {
	if err := forgetRecord(i.dir, i.server.cfg.LogDir); err != nil {
		i.server.cfg.Log.Warn("cannot remove a record", "instance", i.id, "error", err)
	}
	i.server.drop(i)
}
