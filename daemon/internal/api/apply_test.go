package api

import (
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

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
