package keeper

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/app"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// launchLost is for a launch that got no answer. Where that is because the keeper has
// died, the next one knows what became of it: it runs, or nothing is left of it.
func (c *Client) launchLost(ctx context.Context, p *Process, err error) (*keeperv1.Record, error) {
	failed := &app.StartError{Step: "fork", Message: "the keeper could not start it: " + status.Convert(err).Message(), Err: err}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.AlreadyExists:
		return nil, failed
	case codes.Unavailable:
		list, err := c.rpc.List(ctx, &keeperv1.ListRequest{})
		if err != nil {
			break
		}
		for _, r := range list.GetRecords() {
			if r.GetInstance() == string(p.id) && r.GetExit() == nil {
				return r, nil
			}
		}
		failed.Lost = true
	}
	c.abandon(p)
	return nil, failed
}

// abandon is for a launch whose answer was lost: nobody follows the process, so if
// the keeper tells of one, now or later, it is killed and forgotten.
func (c *Client) abandon(p *Process) {
	c.mu.Lock()
	c.abandoned[p.id] = true
	c.mu.Unlock()
	if p.launched() {
		c.reclaim(p.id)
	}
}

func (c *Client) isAbandoned(id app.InstanceID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.abandoned[id]
}

func (c *Client) reclaim(id app.InstanceID) {
	c.cfg.Log.Warn("killing an instance whose launch got no answer", "instance", id)
	c.spawn(func(ctx context.Context) {
		_, err := c.rpc.Kill(ctx, &keeperv1.KillRequest{Instance: string(id)})
		if ignoreNotFound(err) == nil {
			_, err = c.rpc.Forget(ctx, &keeperv1.ForgetRequest{Instance: string(id)})
		}
		if ignoreNotFound(err) != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("an instance is left", "instance", id, "error", err)
		}
	})
}
