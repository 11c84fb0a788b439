package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/roostd/roost/daemon/internal/app"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// watchApps opens a watch as root and returns what reads its next message.
func watchApps(t *testing.T, h *host, req *roostv1.WatchAppsRequest) func() *roostv1.WatchAppsResponse {
	t.Helper()
	stream, err := appsClient(t, h, root).WatchApps(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return func() *roostv1.WatchAppsResponse {
		t.Helper()
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

func names(apps []*roostv1.App) string {
	var list []string
	for _, a := range apps {
		list = append(list, a.Name)
	}
	return strings.Join(list, " ")
}

func TestWatchApps_SnapshotThenDeltasThenHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		h.apps.Set("b", testApp("b"))
		h.apps.Set("a", testApp("a"))
		next := watchApps(t, h, &roostv1.WatchAppsRequest{})
		if m := next(); names(m.GetSnapshot().GetApps()) != "a b" || !m.GetSnapshot().GetLastChunk() || m.ResumeToken == "" {
			t.Fatalf("first %v", m)
		}
		h.apps.Set("c", testApp("c"))
		if m := next(); names(m.GetDelta().GetUpserts()) != "c" || len(m.GetDelta().GetRemoved()) != 0 {
			t.Fatalf("after a new app %v", m)
		}
		h.apps.Delete("a")
		if m := next(); len(m.GetDelta().GetUpserts()) != 0 || !slices.Equal(m.GetDelta().GetRemoved(), []string{"a"}) {
			t.Fatalf("after a removal %v", m)
		}
		start := time.Now()
		if m := next(); m.GetHeartbeat() == nil || time.Since(start) != heartbeatEvery {
			t.Fatalf("after %v: %v", time.Since(start), m)
		}
	})
}

func TestWatchApps_AnEmptySnapshotComesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		start := time.Now()
		m := watchApps(t, h, &roostv1.WatchAppsRequest{})()
		if !m.GetSnapshot().GetLastChunk() || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), m)
		}
	})
}

func TestWatchApps_ByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		h.apps.Set("a", testApp("a"))
		h.apps.Set("b", testApp("b"))
		next := watchApps(t, h, &roostv1.WatchAppsRequest{Names: []string{"b"}})
		if m := next(); names(m.GetSnapshot().GetApps()) != "b" {
			t.Fatalf("first %v", m)
		}
		// What it did not ask for neither comes nor puts heartbeats off.
		start := time.Now()
		time.Sleep(heartbeatEvery - time.Second)
		h.apps.Set("a", testApp("a"))
		h.apps.Delete("a")
		if m := next(); m.GetHeartbeat() == nil || time.Since(start) != heartbeatEvery {
			t.Errorf("after %v: %v", time.Since(start), m)
		}
	})
}

func TestWatchApps_ALargeSnapshotComesInChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		const apps = 10
		for i := range apps {
			a := testApp(fmt.Sprintf("app%d", i))
			a.Generations[1].Spec.Env = map[string]string{"BIG": strings.Repeat("x", 100<<10)}
			h.apps.Set(a.Name, a)
		}
		next := watchApps(t, h, &roostv1.WatchAppsRequest{})
		got, chunks := 0, 0
		for last := false; !last; chunks++ {
			m := next()
			got += len(m.GetSnapshot().GetApps())
			last = m.GetSnapshot().GetLastChunk()
			if last != (m.ResumeToken != "") {
				t.Errorf("chunk %d, last %v, has the token %q", chunks, last, m.ResumeToken)
			}
		}
		if got != apps || chunks != 5 {
			t.Errorf("%d apps in %d chunks, want %d in 5", got, chunks, apps)
		}
	})
}

func TestWatchApps_ResumesWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		h.apps.Set("a", testApp("a"))
		h.apps.Set("b", testApp("b"))
		token := watchApps(t, h, &roostv1.WatchAppsRequest{})().ResumeToken
		h.apps.Delete("b")
		h.apps.Set("c", testApp("c"))

		next := watchApps(t, h, &roostv1.WatchAppsRequest{ResumeToken: token})
		if m := next(); m.GetHeartbeat() == nil {
			t.Fatalf("first %v, want a heartbeat at once", m)
		}
		d := next().GetDelta()
		if names(d.GetUpserts()) != "c" || !slices.Equal(d.GetRemoved(), []string{"b"}) {
			t.Errorf("then %v, want what changed only", d)
		}
	})
}

func TestWatchApps_AStaleTokenGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		h.apps.Set("a", testApp("a"))
		token := watchApps(t, h, &roostv1.WatchAppsRequest{})().ResumeToken
		other := &stateWatch[string, app.App, *roostv1.App, *roostv1.WatchAppsResponse]{epoch: epoch + 1, filter: question(nil, true)}
		for name, req := range map[string]*roostv1.WatchAppsRequest{
			"of another question":     {ResumeToken: token, Names: []string{"a"}},
			"of another daemon start": {ResumeToken: other.tokenAt(1)},
			"garbage":                 {ResumeToken: "x!"},
			"of the future":           {ResumeToken: token[:len(token)-1] + "z"},
		} {
			if m := watchApps(t, h, req)(); m.GetSnapshot() == nil {
				t.Errorf("%s: %v", name, m)
			}
		}
	})
}

func TestWatchApps_EndsWithTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		stream, err := appsClient(t, h, root).WatchApps(t.Context(), &roostv1.WatchAppsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		h.end()
		_, err = stream.Recv()
		if status.Code(err) != codes.Unavailable || reasonOf(err) != "SHUTTING_DOWN" {
			t.Errorf("got %v", err)
		}
	})
}

func TestWatchInstances_OfOneApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		h.instances.Set("i1", app.Instance{ID: "i1", App: "a", Phase: app.PhaseReady})
		h.instances.Set("i2", app.Instance{ID: "i2", App: "b", Phase: app.PhaseReady})
		client := roostv1.NewInstanceServiceClient(h.dial(t, operator))
		stream, err := client.WatchInstances(t.Context(), &roostv1.WatchInstancesRequest{App: "a"})
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.Recv()
		if err != nil || len(m.GetSnapshot().GetInstances()) != 1 || m.GetSnapshot().GetInstances()[0].Id != "i1" {
			t.Errorf("got %v, %v", m, err)
		}
	})
}

func TestWatchRollout_EndsWithTheRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t).open()
		h.rollouts.Set("r1", app.Rollout{ID: "r1", Phase: app.RolloutProgressing, Desired: 2})
		h.rollouts.Set("r2", app.Rollout{ID: "r2", Phase: app.RolloutComplete})
		client := appsClient(t, h, operator)
		follow := func(id string) (phases []roostv1.RolloutPhase, err error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			stream, err := client.WatchRollout(ctx, &roostv1.WatchRolloutRequest{RolloutId: id})
			for err == nil {
				var m *roostv1.WatchRolloutResponse
				if m, err = stream.Recv(); err == nil {
					phases = append(phases, m.Rollout.Phase)
				}
			}
			return phases, err
		}
		if phases, err := follow("r2"); !errors.Is(err, io.EOF) || len(phases) != 1 {
			t.Errorf("a finished one: %v, %v", phases, err)
		}
		if _, err := follow("r3"); status.Code(err) != codes.NotFound {
			t.Errorf("an unknown one: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			h.rollouts.Set("r2", app.Rollout{ID: "r2", Phase: app.RolloutFailed}) // not asked for
			time.Sleep(time.Second)
			h.rollouts.Set("r1", app.Rollout{ID: "r1", Phase: app.RolloutSuperseded})
		}()
		phases, err := follow("r1")
		want := []roostv1.RolloutPhase{roostv1.RolloutPhase_ROLLOUT_PHASE_PROGRESSING, roostv1.RolloutPhase_ROLLOUT_PHASE_SUPERSEDED}
		if !errors.Is(err, io.EOF) || !slices.Equal(phases, want) {
			t.Errorf("got %v, %v, want %v", phases, err, want)
		}
	})
}
