package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	"github.com/roostd/roost/daemon/internal/supervisor"
	"github.com/roostd/roost/daemon/internal/watch"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Apps is what AppService needs of the supervisor. Writes are durable when they
// return, whatever becomes of ctx.
type Apps interface {
	Apply(ctx context.Context, r supervisor.ApplyRequest) ([]supervisor.ApplyResult, error)
	Delete(ctx context.Context, name, etag, actor string) (rollout string, err error)
	Start(ctx context.Context, name, actor string) (app.App, string, error)
	Stop(ctx context.Context, name, actor string) (app.App, string, error)
	Recycle(ctx context.Context, name, actor string) (app.App, string, error)
	SetOffline(ctx context.Context, name string, page *app.OfflinePage, actor string) (app.App, string, error)
	Scale(ctx context.Context, name string, instances int, actor string) (app.App, string, error)
	Rollback(ctx context.Context, name string, generation int64, actor string) (app.App, string, error)
	Generations(name string) (list []app.Generation, desired, serving int64, err error)
	Apps() *watch.Hub[string, app.App]
	Rollouts() *watch.Hub[string, app.Rollout]
}

// AppService registers apps and moves them between states.
type AppService struct {
	roostv1.UnimplementedAppServiceServer
	Apps  Apps
	Epoch uint64
}

// ApplyApps makes the given specs the desired ones, all or none.
func (s *AppService) ApplyApps(ctx context.Context, req *roostv1.ApplyAppsRequest) (*roostv1.ApplyAppsResponse, error) {
	r := supervisor.ApplyRequest{
		ValidateOnly: req.GetValidateOnly(), Etags: req.GetEtags(), Manifest: req.GetManifest(),
		Prune: req.GetPrune(), Verify: req.GetVerify(), Actor: auth.From(ctx).Actor(),
	}
	var faults []app.Violation
	for _, p := range req.GetSpecs() {
		spec, found := specFrom(p)
		r.Specs = append(r.Specs, spec)
		faults = append(faults, found...)
	}
	if len(faults) > 0 {
		return nil, s.withOthers(ctx, r, faults)
	}
	results, err := s.Apps.Apply(ctx, r)
	if err != nil {
		return nil, err
	}
	resp := &roostv1.ApplyAppsResponse{}
	for _, result := range results {
		resp.Results = append(resp.Results, resultTo(result))
	}
	return resp, nil
}

// withOthers refuses specs for faults of their form, together with those that the
// rules find, so that all are told in one go.
func (s *AppService) withOthers(ctx context.Context, r supervisor.ApplyRequest, faults []app.Violation) error {
	r.ValidateOnly = true
	_, err := s.Apps.Apply(ctx, r)
	if other, ok := err.(*app.Fault); ok && other.Kind == app.Invalid { //nolint:errorlint // only the rules' own
		faults = append(faults, other.Violations...)
	}
	return &app.Fault{Kind: app.Invalid, Reason: app.ReasonInvalidSpec, Violations: faults}
}

func resultTo(r supervisor.ApplyResult) *roostv1.ApplyResult {
	p := &roostv1.ApplyResult{
		Action: applyActions[r.Action], Name: r.Name, ChangedPaths: r.ChangedPaths,
		ReplacesInstances: r.Replaces, RolloutId: r.Rollout, Warnings: warningsTo(r.Warnings),
	}
	if p.Action != roostv1.ApplyAction_APPLY_ACTION_DELETED {
		p.App = appTo(r.App, true) // only admins apply
	}
	return p
}

// GetApp returns one app.
func (s *AppService) GetApp(ctx context.Context, req *roostv1.GetAppRequest) (*roostv1.GetAppResponse, error) {
	a, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	return &roostv1.GetAppResponse{App: appTo(a, showsEnv(ctx))}, nil
}

// ListApps returns every app, ordered by name.
func (s *AppService) ListApps(ctx context.Context, _ *roostv1.ListAppsRequest) (*roostv1.ListAppsResponse, error) {
	all := s.Apps.Apps().All()
	resp, left := &roostv1.ListAppsResponse{}, outputs(listedOutput)
	for _, name := range sortedKeys(all) {
		p := appTo(all[name], showsEnv(ctx))
		left.bound(p)
		resp.Apps = append(resp.Apps, p)
	}
	return resp, nil
}

// WatchApps streams a snapshot of the apps and then what changes.
func (s *AppService) WatchApps(req *roostv1.WatchAppsRequest, stream grpc.ServerStreamingServer[roostv1.WatchAppsResponse]) error {
	showEnv := showsEnv(stream.Context())
	names := slices.Sorted(slices.Values(req.GetNames()))
	w := stateWatch[string, app.App, *roostv1.App, *roostv1.WatchAppsResponse]{
		hub: s.Apps.Apps(), epoch: s.Epoch, filter: question(names, showEnv),
		less: func(a, b app.App) int { return strings.Compare(a.Name, b.Name) },
		to:   func(a app.App) *roostv1.App { return appTo(a, showEnv) },
		snapshot: func(chunk []*roostv1.App, last bool) *roostv1.WatchAppsResponse {
			return &roostv1.WatchAppsResponse{Message: &roostv1.WatchAppsResponse_Snapshot{
				Snapshot: &roostv1.AppsSnapshot{Apps: chunk, LastChunk: last},
			}}
		},
		delta: func(upserts []*roostv1.App, removed []string) *roostv1.WatchAppsResponse {
			return &roostv1.WatchAppsResponse{Message: &roostv1.WatchAppsResponse_Delta{
				Delta: &roostv1.AppsDelta{Upserts: upserts, Removed: removed},
			}}
		},
		heartbeat: func() *roostv1.WatchAppsResponse {
			return &roostv1.WatchAppsResponse{Message: &roostv1.WatchAppsResponse_Heartbeat{Heartbeat: &roostv1.Heartbeat{}}}
		},
		token: func(r *roostv1.WatchAppsResponse, token string) { r.ResumeToken = token },
		send:  stream.Send,
	}
	if len(names) > 0 {
		w.keys = func(name string) bool { return slices.Contains(names, name) }
	}
	return w.serve(stream.Context(), req.GetResumeToken())
}

// ListGenerations returns the kept generations of an app, newest first.
func (s *AppService) ListGenerations(ctx context.Context, req *roostv1.ListGenerationsRequest) (*roostv1.ListGenerationsResponse, error) {
	list, desired, serving, err := s.Apps.Generations(req.GetName())
	if err != nil {
		return nil, err
	}
	resp := &roostv1.ListGenerationsResponse{}
	for _, g := range slices.SortedFunc(slices.Values(list), func(a, b app.Generation) int { return int(b.Number - a.Number) }) {
		resp.Generations = append(resp.Generations, generationTo(g, desired, serving, showsEnv(ctx)))
	}
	return resp, nil
}

func (s *AppService) find(name string) (app.App, error) {
	return findApp(s.Apps.Apps(), name)
}

func findApp(apps *watch.Hub[string, app.App], name string) (app.App, error) {
	a, ok := apps.Get(name)
	if !ok {
		return app.App{}, app.NoSuchApp(name)
	}
	return a, nil
}

// showsEnv tells whether a caller is shown the values of env.
func showsEnv(ctx context.Context) bool { return auth.From(ctx).Has(auth.Admin) }

// question is what a watch is asked, for its resume tokens.
func question(names []string, showEnv bool) string {
	q := strings.Join(names, ",")
	if showEnv {
		q += " with env"
	}
	return q
}
