package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
)

// What every app needs may be away, and they all fail with much to say.
func TestLists_OfManyAppsThatFailFitInAMessage(t *testing.T) {
	h := newHost(t)
	close(h.ready)
	output := "it cannot go on\n" + strings.Repeat("a line of a trace\n", 30_000/18)
	const apps, ended = 400, 20
	for n := range apps {
		name := fmt.Sprintf("app-%d", n)
		h.apps.Set(name, app.App{
			Stored:     app.Stored{Name: name},
			Conditions: []app.Condition{{Type: app.CondRolloutFailed, Message: "generation 2: " + output}},
			Rollout:    &app.Rollout{ID: name, App: name, Output: output},
		})
		for i := range ended {
			id := app.InstanceID(fmt.Sprintf("%s-%d", name, i))
			h.instances.Set(id, app.Instance{ID: id, App: name, Phase: app.PhaseExited, OutputTail: output[:8<<10]})
		}
	}
	if apps*2*len(output) < rpc.MaxMessage || apps*ended*8<<10 < rpc.MaxMessage {
		t.Fatal("all of it would fit")
	}
	conn := h.dial(t, root)
	listed, err := roostv1.NewAppServiceClient(conn).ListApps(t.Context(), &roostv1.ListAppsRequest{})
	if err != nil || len(listed.GetApps()) != apps {
		t.Fatalf("%d apps, %v", len(listed.GetApps()), err)
	}
	whole, cut := 0, 0
	for _, a := range listed.GetApps() {
		switch message := a.GetConditions()[0].GetMessage(); {
		case strings.HasSuffix(message, output):
			whole++
		case message == "generation 2: it cannot go on":
			cut++
		}
	}
	if whole == 0 || cut == 0 || whole+cut != apps {
		t.Errorf("%d conditions are whole and %d cut, of %d", whole, cut, apps)
	}
	client := roostv1.NewInstanceServiceClient(conn)
	all, err := client.ListInstances(t.Context(), &roostv1.ListInstancesRequest{IncludeExited: true})
	if err != nil || len(all.GetInstances()) != apps*ended {
		t.Fatalf("%d instances, %v", len(all.GetInstances()), err)
	}
	one, err := client.ListInstances(t.Context(), &roostv1.ListInstancesRequest{App: "app-399", IncludeExited: true})
	if err != nil || len(one.GetInstances()) != ended {
		t.Fatalf("%d instances, %v", len(one.GetInstances()), err)
	}
	for _, i := range one.GetInstances() {
		if len(i.GetOutputTail()) != 8<<10 {
			t.Fatalf("of one app %d bytes are shown", len(i.GetOutputTail()))
		}
	}
}
