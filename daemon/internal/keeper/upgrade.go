package keeper

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// replaceKeeper asks a keeper of another version, or one that takes nothing new, to
// leave, so that the next session starts one of this daemon's own. The apps do not notice: it takes them over.
func (c *Client) replaceKeeper(ctx context.Context, old *keeperv1.HelloResponse) error {
	c.cfg.Log.Info("replacing the keeper that was found", "pid", old.GetPid(), "old", old.GetVersion(), "new", c.cfg.Version)
	_, err := c.rpc.Shutdown(ctx, &keeperv1.ShutdownRequest{Leave: true}, grpc.WaitForReady(false))
	if err != nil && status.Code(err) != codes.Unavailable {
		return fmt.Errorf("the keeper (pid %d, version %s) cannot be replaced: %w", old.GetPid(), old.GetVersion(), err)
	}
	return status.Error(codes.Unavailable, "the keeper that was found leaves")
}
