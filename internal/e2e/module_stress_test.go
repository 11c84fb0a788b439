package e2e

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Everything that may become of an app, in any order and at any moment, while
// requests come: each of them gets the app's answer, or the page of one that is offline.
func TestModule_StressOfEverything(t *testing.T) {
	for name, a := range moduleApps {
		for how, overlap := range map[string]bool{"overlapped": true, "one at a time": false} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				if name == "kestrel" {
					kestrelBundle(t)
				}
				stress(t, a, overlap)
			})
		}
	}
}

func stress(t *testing.T, a moduleApp, overlap bool) {
	t.Helper()
	h := newHost(t)
	s, spec := h.moduleSite(a, "web")
	spec.Recycle.Overlap = new(overlap)
	spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(100))}
	h.apply(spec)
	h.see("web", "/see/x", nil)
	l := startLoadAlso(h, "web", 4, 100, false, "offline")

	changes := map[string]func(n int){
		"touch":   func(int) { s.touch("web.config") },
		"recycle": func(int) { _, _ = h.apps.RecycleApp(t.Context(), &roostv1.RecycleAppRequest{Name: "web"}) }, // refused of one that is offline
		"page":    func(n int) { s.put("app_offline.htm", fmt.Sprint(n)) },
		"no page": func(int) { s.remove("app_offline.htm") },
		"apply": func(n int) {
			withEnv(spec, map[string]string{"CHANGED": fmt.Sprint(n)})
			if _, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}}); err != nil {
				t.Error(err)
			}
		},
		"crash": func(int) {
			if !l.renewed() { // a request that a second instance dies of is not tried on a third
				return
			}
			for _, i := range h.live("web") {
				if i.Phase == roostv1.InstancePhase_INSTANCE_PHASE_READY { // of one that starts, the start fails
					l.mayCut()
					_ = syscall.Kill(int(i.Pid), syscall.SIGKILL) // it may have ended meanwhile
					break
				}
			}
		},
		"daemon": func(int) {
			h.daemon.end(syscall.SIGKILL)
			h.startDaemon()
			h.eventually("the daemon is ready", func() bool {
				_, err := h.apps.GetApp(t.Context(), &roostv1.GetAppRequest{Name: "web"})
				return err == nil
			})
		},
	}
	order := []string{"touch", "recycle", "page", "no page", "apply", "crash", "daemon"}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var done []string
	for n := range 30 {
		what := order[random.IntN(len(order))]
		done = append(done, what)
		changes[what](n)
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
	}
	s.remove("app_offline.htm")
	s.online()
	h.apply(withEnv(spec, map[string]string{"CHANGED": "last"})) // one before may have been rolled back, for a crash
	h.eventually("one process is left, of the newest generation", func() bool {
		app := h.app("web")
		return len(h.live("web")) == 1 && len(h.inFolder("web")) == 1 && app.ServingGeneration == app.DesiredGeneration
	})
	l.end(t)
	if t.Failed() {
		t.Logf("seed %d: %q", seed, done)
	}
}
