package supervisor

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

func fields(err error) []string {
	f, ok := errors.AsType[*app.Fault](err)
	if !ok {
		return nil
	}
	var list []string
	for _, v := range f.Violations {
		list = append(list, v.Field)
	}
	return list
}

func TestApply_SaysAllFaultsAtOnceAndAppliesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.link("/srv/c", "")
		_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{
			spec("a", func(s *app.Spec) { s.Command = nil }),
			spec("b"), spec("b"),
			spec("c", instances(0)),
			spec("d", func(s *app.Spec) { s.Listen.Mode = app.ListenUnix }), // for which this host is no good
		}})
		want := []string{"apps.a.command", "apps.b.name", "apps.c.instances", "apps.c.dir", "apps.d.listen.mode"}
		if app.KindOf(err) != app.Invalid || !reflect.DeepEqual(fields(err), want) {
			t.Fatalf("%v: %v", err, fields(err))
		}
		if len(r.disk.apps) != 0 || len(r.Apps().All()) != 0 {
			t.Fatal("something was applied")
		}
	})
}

func TestApply_ConflictsAreToldWithTheFaultsOfOtherApps(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("old"))
		route := func(host string) func(*app.Spec) { return func(s *app.Spec) { s.Routes = []app.Route{{Host: host}} } }
		_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{
			spec("bad", func(s *app.Spec) { s.Command = nil }, route("one.test")),
			spec("one", route("one.test")), spec("two", route("old.test")),
		}})
		want := []string{"apps.bad.command", "apps.bad.routes[0]", "apps.one.routes[0]", "apps.two.routes[0]"}
		if got := fields(err); app.KindOf(err) != app.Invalid || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v, want faults of %v", err, want)
		}
	})
}

func TestApply_ConflictsOfTwoAppsAreRefused(t *testing.T) {
	port := func(s *app.Spec) { s.Listen.Port = 9000; s.Recycle.Overlap = new(false) }
	route := func(s *app.Spec) { s.Routes = []app.Route{{Host: "Same.test", Path: "/a"}} }
	inBubble(t, func(t *testing.T, r *rig) {
		_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("one", port), spec("two", port)}})
		f, _ := errors.AsType[*app.Fault](err)
		if f == nil || f.Kind != app.Conflict || f.Reason != app.ReasonPortConflict ||
			!strings.Contains(f.Message, "one") || !strings.Contains(f.Message, "two") {
			t.Fatalf("port: %+v", f)
		}
		r.apply(spec("one", route))
		_, err = r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("two", route)}})
		f, _ = errors.AsType[*app.Fault](err)
		if f == nil || f.Kind != app.Conflict || f.Reason != app.ReasonRouteConflict || !reflect.DeepEqual(fields(err), []string{"apps.two.routes[0]"}) {
			t.Fatalf("route: %+v", f)
		}
		// A route may move from one app to another in one apply.
		r.apply(spec("one"), spec("two", route))
		if len(r.disk.apps) != 2 {
			t.Fatal("not applied")
		}
	})
}

func TestApply_PathsInAnyCaseConflict(t *testing.T) {
	path := func(p string, preset app.Preset) func(*app.Spec) {
		return func(s *app.Spec) { s.Routes, s.Preset = []app.Route{{Host: "same.test", Path: p}}, preset }
	}
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("plain", path("/Shop", "")), spec("other", path("/SHOP", "")))
		_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("core", path("/shop", app.PresetASPNETCore))}})
		if f, _ := errors.AsType[*app.Fault](err); f == nil || f.Reason != app.ReasonRouteConflict || !strings.Contains(f.Message, "app other has") {
			t.Fatalf("the preset's path came last: %v", err)
		}
		r.apply(spec("core", path("/Core", app.PresetASPNETCore)))
		_, err = r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("late", path("/core", ""))}})
		if f, _ := errors.AsType[*app.Fault](err); f == nil || f.Reason != app.ReasonRouteConflict {
			t.Fatalf("the preset's path came first: %v", err)
		}
	})
}

func TestApply_RouteOfTheServingGenerationIsStillTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("one", version("1")))
		r.bad("2", script{boot: -1, exitAfter: 1})
		r.ends(r.apply(spec("one", version("2"), func(s *app.Spec) { s.Routes = nil }))[0].Rollout, app.RolloutFailed)
		_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("two", func(s *app.Spec) { s.Routes = []app.Route{{Host: "one.test"}} })}})
		if app.KindOf(err) != app.Conflict {
			t.Fatalf("%v", err)
		}
	})
}

func TestApply_ValidateOnlyGivesTheSameAnswerAndChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		req := ApplyRequest{Manifest: "m", Specs: []app.Spec{
			spec("web", version("2")), spec("new", func(s *app.Spec) { s.Command = []string{"missing"} }),
		}}
		req.ValidateOnly = true
		dry, err := r.Apply(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.disk.apps) != 1 || r.app("web").Desired != 1 {
			t.Fatal("it changed something")
		}
		req.ValidateOnly = false
		wet, err := r.Apply(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for i := range wet {
			d, w := dry[i], wet[i]
			if w.Rollout == "" || d.Rollout != "" {
				t.Errorf("rollouts %q and %q", d.Rollout, w.Rollout)
			}
			if d.App.Desired != w.App.Desired {
				t.Errorf("generations %d and %d", d.App.Desired, w.App.Desired)
			}
			d.App, w.App, d.Rollout, w.Rollout = app.App{}, app.App{}, "", ""
			if !reflect.DeepEqual(d, w) {
				t.Errorf("dry %+v\nwet %+v", d, w)
			}
		}
		if w := wet[1].Warnings; len(w) != 1 || w[0].Field != "apps.new.command" {
			t.Errorf("warnings %v", w)
		}
	})
}

func TestApply_RepeatedIsUnchanged(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		p := r.wantAlive(1)[0]
		set, _ := r.proxies.Current("web")
		res := r.apply(spec("web"))[0]
		if res.Action != ActionUnchanged || res.Rollout != "" || res.Replaces || len(res.ChangedPaths) != 0 || res.App.Desired != 1 {
			t.Fatalf("result %+v", res)
		}
		if now, _ := r.proxies.Current("web"); now.Revision != set.Revision || r.wantAlive(1)[0] != p {
			t.Error("something happened")
		}
	})
}

func TestApply_RepeatedDuringItsRolloutJoinsIt(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", version("1")))
		first := r.apply(spec("web", version("2")))[0].Rollout
		again := r.apply(spec("web", version("2")))[0]
		if again.Action != ActionUnchanged || again.Rollout != first {
			t.Fatalf("result %+v, rollout %s", again, first)
		}
		r.ends(first, app.RolloutComplete)
	})
}

func TestApply_EtagMustMatch(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		res := r.apply(spec("web"))[0]
		etag := app.Etag(res.App.Desired, desiredOf(res.App.Stored).Spec)
		for _, bad := range []map[string]string{{"web": "x"}, {"nobody": etag}} {
			if _, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("web", version("2"))}, Etags: bad}); app.KindOf(err) != app.Stale {
				t.Errorf("etags %v: %v", bad, err)
			}
		}
		if _, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("web", version("2"))}, Etags: map[string]string{"web": etag}}); err != nil {
			t.Error(err)
		}
	})
}

func TestApply_PruneDeletesOnlyTheManifestsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		with := func(manifest string, prune bool, specs ...app.Spec) ([]ApplyResult, error) {
			return r.Apply(ctx, ApplyRequest{Specs: specs, Manifest: manifest, Prune: prune})
		}
		if _, err := with("m", false, spec("a"), spec("b")); err != nil {
			t.Fatal(err)
		}
		_, _ = with("other", false, spec("c"))
		_, _ = with("", false, spec("d"))
		if _, err := with("", true, spec("a")); app.KindOf(err) != app.Invalid {
			t.Errorf("without a name: %v", err)
		}
		res, err := with("m", true, spec("a"))
		if err != nil || len(res) != 2 || res[1].Name != "b" || res[1].Action != ActionDeleted || res[1].Rollout == "" {
			t.Fatalf("%+v, %v", res, err)
		}
		r.ends(res[1].Rollout, app.RolloutComplete)
		if got := r.Apps().All(); len(got) != 3 {
			t.Fatalf("%d apps are left", len(got))
		}
	})
}

func TestApply_ThatCannotBeStoredChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.disk.fail(errors.New("no space left on device"))
		if _, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("web")}}); app.KindOf(err) != app.Internal {
			t.Fatalf("%v", err)
		}
		if len(r.Apps().All()) != 0 || len(r.proxies.sets) != 0 {
			t.Fatal("something was applied")
		}
		r.disk.fail(nil)
		r.apply(spec("web"))
	})
}
