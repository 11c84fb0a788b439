package api

import (
	"context"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// DeleteApp drains and stops an app and forgets it.
func (s *AppService) DeleteApp(ctx context.Context, req *roostv1.DeleteAppRequest) (*roostv1.DeleteAppResponse, error) {
	rollout, err := s.Apps.Delete(ctx, req.GetName(), req.GetEtag(), auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	return &roostv1.DeleteAppResponse{RolloutId: rollout}, nil
}

// StartApp puts an app in service and starts its instances.
func (s *AppService) StartApp(ctx context.Context, req *roostv1.StartAppRequest) (*roostv1.StartAppResponse, error) {
	a, rollout, err := s.Apps.Start(ctx, req.GetName(), auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	return &roostv1.StartAppResponse{App: appTo(a, showsEnv(ctx)), RolloutId: rollout}, nil
}

// StopApp takes an app out of service.
func (s *AppService) StopApp(ctx context.Context, req *roostv1.StopAppRequest) (*roostv1.StopAppResponse, error) {
	a, rollout, err := s.Apps.Stop(ctx, req.GetName(), auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	return &roostv1.StopAppResponse{App: appTo(a, showsEnv(ctx)), RolloutId: rollout}, nil
}

// RecycleApp replaces every instance by a new one of the desired generation.
func (s *AppService) RecycleApp(ctx context.Context, req *roostv1.RecycleAppRequest) (*roostv1.RecycleAppResponse, error) {
	a, rollout, err := s.Apps.Recycle(ctx, req.GetName(), auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	return &roostv1.RecycleAppResponse{App: appTo(a, showsEnv(ctx)), RolloutId: rollout}, nil
}

// SetAppOffline takes an app out of service with a page, or puts it back.
func (s *AppService) SetAppOffline(ctx context.Context, req *roostv1.SetAppOfflineRequest) (*roostv1.SetAppOfflineResponse, error) {
	var page *app.OfflinePage
	switch {
	case req.GetOffline():
		page = &app.OfflinePage{Page: req.GetPage(), BuiltIn: len(req.GetPage()) == 0}
	case len(req.GetPage()) > 0:
		return nil, app.Errorf(app.Invalid, app.ReasonInvalidArgument, req.GetName(), "page: an app that is put back in service has none")
	}
	a, rollout, err := s.Apps.SetOffline(ctx, req.GetName(), page, auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	return &roostv1.SetAppOfflineResponse{App: appTo(a, showsEnv(ctx)), RolloutId: rollout}, nil
}

// ScaleApp sets the number of instances.
func (s *AppService) ScaleApp(ctx context.Context, req *roostv1.ScaleAppRequest) (*roostv1.ScaleAppResponse, error) {
	a, rollout, err := s.Apps.Scale(ctx, req.GetName(), int(req.GetInstances()), auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	return &roostv1.ScaleAppResponse{App: appTo(a, showsEnv(ctx)), RolloutId: rollout}, nil
}

// RollbackApp makes an earlier generation the desired one.
func (s *AppService) RollbackApp(ctx context.Context, req *roostv1.RollbackAppRequest) (*roostv1.RollbackAppResponse, error) {
	if req.GetGeneration() < 0 {
		return nil, app.Errorf(app.Invalid, app.ReasonInvalidArgument, req.GetName(), "generation %d: they count from 1", req.GetGeneration())
	}
	a, rollout, err := s.Apps.Rollback(ctx, req.GetName(), req.GetGeneration(), auth.From(ctx).Actor())
	if err != nil {
		return nil, err
	}
	return &roostv1.RollbackAppResponse{App: appTo(a, showsEnv(ctx)), RolloutId: rollout}, nil
}
