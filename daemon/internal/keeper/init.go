package keeper

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// firstPID is that of the first process of a pid namespace, such as a container's.
const firstPID = 1

// reapStrays reaps what comes down to a daemon that is the first of its pid
// namespace: once the keeper has died, the apps, which nobody else would wait for.
// How they ended is for the next keeper to be told.
func (c *Client) reapStrays(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		c.reapEnded()
		select {
		case <-ctx.Done():
			return
		case <-died:
		}
	}
}

// reapEnded reaps all children that have ended.
func (c *Client) reapEnded() {
	c.births.Lock()
	defer c.births.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || pid <= 0: // no children, or none that ended
			return
		}
		if !c.noteKeeper(pid, ws) {
			for _, p := range c.all() {
				p.noteReaped(pid, ws)
			}
		}
	}
}

// noteReaped takes the status of a child that was just reaped, if it was the leader:
// a number that it had is another's only once it was reaped itself.
func (p *Process) noteReaped(pid int, ws unix.WaitStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.held; h != nil && h.pid == pid && h.leader != nil && h.reaped == nil && h.leader.Ended() {
		h.reaped = &ws
	}
}
