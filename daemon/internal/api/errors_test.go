package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/supervisor"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// detail returns the detail of a type that an error has, once.
func detail[D any](err error) (found D, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if d, is := d.(D); is {
			if ok {
				panic(fmt.Sprintf("two details of type %T", d))
			}
			found, ok = d, true
		}
	}
	return found, ok
}

func reasonOf(err error) string {
	info, _ := detail[*errdetails.ErrorInfo](err)
	return info.GetReason()
}

func metadataOf(err error) map[string]string {
	info, _ := detail[*errdetails.ErrorInfo](err)
	return info.GetMetadata()
}

func translated(err error) error {
	s, _ := toStatus(context.Background(), err)
	return s.Err()
}

func TestToStatus_EveryKindHasACode(t *testing.T) {
	for kind := app.Invalid; kind <= app.Timeout; kind++ {
		err := translated(&app.Fault{Kind: kind, Reason: app.ReasonAppStopped, Message: "m"})
		if c := status.Code(err); c == codes.OK || c == codes.Unknown || c == codes.Internal {
			t.Errorf("kind %d becomes %v", kind, c)
		}
		if info, _ := detail[*errdetails.ErrorInfo](err); info.GetDomain() != "roost" || info.GetReason() != "APP_STOPPED" {
			t.Errorf("kind %d has %v", kind, info)
		}
	}
	if _, ok := codeOf[app.Timeout+1]; ok || len(codeOf) != int(app.Timeout)+1 {
		t.Error("a kind is missing here")
	}
}

func TestToStatus_Details(t *testing.T) {
	err := translated(fmt.Errorf("applying: %w", &app.Fault{
		Kind: app.Conflict, Reason: app.ReasonRouteConflict, App: "web", Revision: 9, Message: "two apps",
		Violations: []app.Violation{{Field: "apps.web.routes[0]", Message: "taken by api"}},
		RetryTime:  time.Now().Add(time.Minute),
	}))
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("code %v", status.Code(err))
	}
	info, _ := detail[*errdetails.ErrorInfo](err)
	if info.GetMetadata()["app"] != "web" || info.GetMetadata()["revision"] != "9" {
		t.Errorf("info %v", info)
	}
	bad, _ := detail[*errdetails.BadRequest](err)
	if v := bad.GetFieldViolations(); len(v) != 1 || v[0].Field != "apps.web.routes[0]" || v[0].Description != "taken by api" {
		t.Errorf("bad request %v", bad)
	}
	pre, _ := detail[*errdetails.PreconditionFailure](err)
	if v := pre.GetViolations(); len(v) != 1 || v[0].Subject != "apps.web.routes[0]" || v[0].Type != "ROUTE_CONFLICT" {
		t.Errorf("precondition %v", pre)
	}
	retry, _ := detail[*errdetails.RetryInfo](err)
	if d := retry.GetRetryDelay().AsDuration(); d <= 0 || d > time.Minute {
		t.Errorf("retry in %v", d)
	}
}

func TestToStatus_TheUnforeseenStaysInside(t *testing.T) {
	secret := errors.New("open /root/secret: permission denied")
	for name, err := range map[string]error{
		"an error":             secret,
		"an internal fault":    &app.Fault{Kind: app.Internal, Err: secret},
		"one with a message":   &app.Fault{Kind: app.Internal, Reason: app.ReasonInternal, Message: "nothing was changed", Err: secret},
		"the keeper's, passed": fmt.Errorf("owner: %w", status.Error(codes.NotFound, secret.Error())),
	} {
		s, internal := toStatus(t.Context(), err)
		if !internal || s.Code() != codes.Internal || strings.Contains(s.Message(), "secret") {
			t.Errorf("%s: %v, internal %v", name, s, internal)
		}
	}
}

func TestCalls_UnforeseenErrorsAreLoggedOnce(t *testing.T) {
	h := newHost(t).open()
	h.err = errors.New("the disk is gone")
	_, err := appsClient(t, h, root).StartApp(t.Context(), &roostv1.StartAppRequest{Name: "web"})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "disk") || reasonOf(err) != "INTERNAL" {
		t.Errorf("the client got %v", err)
	}
	log := h.log.String()
	if strings.Count(log, "the disk is gone") != 1 || !strings.Contains(log, "/roost.v1.AppService/StartApp") || !strings.Contains(log, "uid 0") {
		t.Errorf("the log is %q", log)
	}
}

func TestApplyApps_AllFaultsInOneGo(t *testing.T) {
	h := newHost(t).open()
	h.err = &app.Fault{
		Kind: app.Invalid, Reason: app.ReasonInvalidSpec,
		Violations: []app.Violation{{Field: "apps.web.command", Message: "it is required"}},
	}
	_, err := appsClient(t, h, root).ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{
		{Name: "web", RedactedEnv: []string{"SECRET"}},
	}})
	bad, _ := detail[*errdetails.BadRequest](err)
	var fields []string
	for _, v := range bad.GetFieldViolations() {
		fields = append(fields, v.Field)
	}
	if want := []string{"apps.web.env.SECRET", "apps.web.command"}; !slices.Equal(fields, want) || status.Code(err) != codes.InvalidArgument {
		t.Errorf("faults of %v (%v), want %v", fields, err, want)
	}
	if len(h.applied) != 1 || !h.applied[0].ValidateOnly {
		t.Errorf("it was applied: %+v", h.applied)
	}
}

func TestApplyApps_TellsWhatBecameOfEach(t *testing.T) {
	h := newHost(t).open()
	h.results = []supervisor.ApplyResult{
		{Name: "web", Action: supervisor.ActionUpdated, App: testApp("web"), ChangedPaths: []string{"env.A"}, Replaces: true, Rollout: "r1",
			Warnings: []app.Violation{{Field: "apps.web.user", Message: "no such user"}}},
		{Name: "old", Action: supervisor.ActionDeleted, Rollout: "r2"},
	}
	resp, err := appsClient(t, h, root).ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{
		Specs: []*roostv1.AppSpec{{Name: "web"}}, Manifest: "site", Prune: true, Verify: true, Etags: map[string]string{"web": "e"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := h.applied[0]
	if r.Actor != "uid 0 (root)" || r.Manifest != "site" || !r.Prune || !r.Verify || r.Etags["web"] != "e" || r.ValidateOnly {
		t.Errorf("the request became %+v", r)
	}
	web, old := resp.Results[0], resp.Results[1]
	if web.Action != roostv1.ApplyAction_APPLY_ACTION_UPDATED || !web.ReplacesInstances || web.RolloutId != "r1" ||
		web.App.GetEtag() == "" || web.App.GetResolvedDir() != "/srv/1" || web.Warnings[0].Field != "apps.web.user" {
		t.Errorf("web: %v", web)
	}
	if old.Action != roostv1.ApplyAction_APPLY_ACTION_DELETED || old.App != nil || old.RolloutId != "r2" {
		t.Errorf("old: %v", old)
	}
}
