package keeper

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// holding is what the daemon keeps open of an instance, so that what it wrote and
// how it ended outlive the keeper. Nothing is read through it: a new keeper opens
// the FIFOs itself, and asks for the exits that it missed.
type holding struct {
	fifos  []int
	leader *proc.Handle // nil where it had ended already
	pid    int
	ticks  uint64
	reaped *unix.WaitStatus // its status, where this daemon has taken it
}

// hold opens what there is of an instance. What cannot be opened is not held: it
// only counts once the keeper dies.
func hold(stateDir string, r *keeperv1.Record) *holding {
	h := &holding{pid: int(r.GetPid()), ticks: r.GetStartTicks()}
	for _, stream := range streams {
		path := filepath.Join(instanceDir(stateDir, r.GetInstance()), stream)
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			h.fifos = append(h.fifos, fd)
		}
	}
	if leader, err := proc.Open(h.pid, h.ticks); err == nil {
		h.leader = &leader
	}
	return h
}

// exit is how the leader ended, as far as the kernel tells; nil while it runs.
func (h *holding) exit() *keeperv1.Exit {
	if h == nil || h.leader == nil || !h.leader.Ended() {
		return nil
	}
	ws, ok := h.leader.Status(h.pid, h.ticks)
	if h.reaped != nil {
		ws, ok = *h.reaped, true
	}
	if !ok {
		return nil
	}
	return exitMessage(exit{status: spawn.Status{Wait: ws, Time: time.Now()}})
}

func (h *holding) close() {
	if h == nil {
		return
	}
	for _, fd := range h.fifos {
		_ = unix.Close(fd)
	}
	if h.leader != nil {
		h.leader.Close()
	}
}

// hold holds the instance of a record, once, until it is gone.
func (p *Process) hold(r *keeperv1.Record) {
	h := hold(p.client.cfg.StateDir, r)
	p.mu.Lock()
	keep := p.held == nil && !isClosed(p.gone)
	if keep {
		p.held = h
	}
	p.mu.Unlock()
	if !keep { // another record of it came first
		h.close()
	}
}

// release ends the holding of an instance.
func (p *Process) release() {
	p.mu.Lock()
	h := p.held
	p.held = nil
	p.mu.Unlock()
	h.close()
}

// missedExit is how the leader ended, where no keeper has told of it yet.
func (p *Process) missedExit() *keeperv1.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(p.exited) {
		return nil
	}
	return p.held.exit()
}

// missedExits are the exits that a new keeper cannot know of.
func (c *Client) missedExits() map[string]*keeperv1.Exit {
	exits := map[string]*keeperv1.Exit{}
	for _, p := range c.all() {
		if e := p.missedExit(); e != nil {
			exits[string(p.id)] = e
		}
	}
	return exits
}
