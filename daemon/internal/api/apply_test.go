package api

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	"github.com/roostd/roost/daemon/internal/supervisor"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// fieldsOf are the fields that a refusal names.
func fieldsOf(err error) (fields []string) {
	bad, _ := detail[*errdetails.BadRequest](err)
	for _, v := range bad.GetFieldViolations() {
		fields = append(fields, v.GetField())
	}
	return fields
}

func TestApplyApps_RefusesSocketsThatNoAddressHolds(t *testing.T) {
	spec := func() *roostv1.AppSpec {
		return &roostv1.AppSpec{Name: "web", Command: []string{"x"}, Dir: "/srv", Listen: &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_UNIX}}
	}
	for length, refused := range map[int]bool{107 - 21: false, 107 - 21 + 1: true} { // /i/, 16 characters, /s
		apps := &fakeSupervisor{}
		s := &AppService{Apps: apps, SocketDir: "/" + strings.Repeat("x", length-1)}
		_, err := s.ApplyApps(auth.With(t.Context(), auth.Principal{}), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec()}})
		if refused != (app.KindOf(err) == app.Invalid) || refused == (err == nil) {
			t.Errorf("a folder of %d bytes: %v", length, err)
		}
		if refused && !slices.Equal(fieldsOf(translated(err)), []string{"apps.web.listen.mode"}) {
			t.Errorf("fields %v", fieldsOf(translated(err)))
		}
		if refused && slices.ContainsFunc(apps.applied, func(r supervisor.ApplyRequest) bool { return !r.ValidateOnly }) {
			t.Error("it was applied")
		}
	}
}

// A daemon that is older than its client must not run an app without what it
// does not know of.
func TestApplyApps_RefusesFieldsOfALaterVersion(t *testing.T) {
	h := newHost(t).open()
	later := protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1)
	spec := &roostv1.AppSpec{Name: "web", Listen: &roostv1.Listen{}, Routes: []*roostv1.Route{{}, {}}}
	spec.ProtoReflect().SetUnknown(later)
	spec.Listen.ProtoReflect().SetUnknown(later)
	spec.Routes[1].ProtoReflect().SetUnknown(later)
	_, err := appsClient(t, h, root).ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}})
	want := []string{"apps.web", "apps.web.listen", "apps.web.routes[1]"}
	if got := fieldsOf(err); status.Code(err) != codes.InvalidArgument || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("%v, fields %v, want %v", err, got, want)
	}
}

func TestReadLogs_RefusesAStreamItDoesNotKnow(t *testing.T) {
	h := newHost(t).open()
	h.apps.Set("web", testApp("web"))
	stream, err := roostv1.NewLogServiceClient(h.dial(t, operator)).ReadLogs(t.Context(), &roostv1.ReadLogsRequest{App: "web", Stream: 9})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}
