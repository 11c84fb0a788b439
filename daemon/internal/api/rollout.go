package api

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/app"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// WatchRollout streams a rollout's progress and ends with it. What it is now is
// told at once, and again where nothing changes for a while.
func (s *AppService) WatchRollout(req *roostv1.WatchRolloutRequest, stream grpc.ServerStreamingServer[roostv1.WatchRolloutResponse]) error {
	ctx, id := stream.Context(), req.GetRolloutId()
	w, all := s.Apps.Rollouts().Watch()
	defer w.Stop()
	rollout, ok := all[id]
	if !ok {
		return rolloutNotFound(id)
	}
	again := time.NewTicker(heartbeatEvery)
	defer again.Stop()
	for {
		if err := stream.Send(&roostv1.WatchRolloutResponse{Rollout: rolloutTo(rollout)}); err != nil {
			return err
		}
		if rollout.Phase.Done() {
			return nil
		}
		for changed := false; !changed; {
			select {
			case <-w.Wake():
				values, removed := w.Take()
				if slices.Contains(removed, id) {
					return rolloutNotFound(id)
				}
				rollout, changed = pick(values, id, rollout)
			case <-again.C:
				changed = true
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// pick returns the value of a key among those that changed.
func pick[V any](changed map[string]V, key string, otherwise V) (V, bool) {
	if v, ok := changed[key]; ok {
		return v, true
	}
	return otherwise, false
}

func rolloutNotFound(id string) error {
	return app.Errorf(app.NotFound, app.ReasonNotFound, "", "rollout %q not found: only the last ones of an app are kept", id)
}
