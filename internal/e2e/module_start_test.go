package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// envOf asks an app for its environment.
func (h *host) envOf(name string) map[string]string {
	h.Helper()
	body := []byte(h.get(name, "/env").wants(h, http.StatusOK).body)
	env := map[string]string{}
	if json.Unmarshal(body, &env) == nil {
		return env // a real one
	}
	var vars []string
	if err := json.Unmarshal(body, &vars); err != nil {
		h.Fatalf("%v: %s", err, body)
	}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return env
}

// Everybody who comes first waits for the one start, and is served.
func TestModuleStart_ManyFirstRequests(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		pids := make([]int, 100)
		var all sync.WaitGroup
		for i := range pids {
			all.Go(func() {
				var s seenByKestrel
				if r := h.get("web", "/see/x"); r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &s) != nil {
					t.Errorf("request %d: %v", i, r)
				}
				pids[i] = s.PID
			})
		}
		all.Wait()
		if different := slices.Compact(pids); len(different) != 1 || h.count("web", "InstanceStarting") != 1 {
			t.Errorf("answered by %v, after %d starts", different, h.count("web", "InstanceStarting"))
		}
	})
}

// Apps that start at the same moment do not take one another's port, and what is
// done to one of them is not noticed by the others.
func TestModuleStart_ManyAppsAtOnce(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		var specs []*roostv1.AppSpec
		for n := range a.many {
			specs = append(specs, a.spec(h, fmt.Sprintf("web-%d", n)))
		}
		h.apply(specs...)
		answers := make([]reply, len(specs))
		var all sync.WaitGroup
		for n, spec := range specs {
			all.Go(func() { answers[n] = h.get(spec.Name, "/see/x") })
		}
		all.Wait()
		pids := map[string]int{}
		for n, spec := range specs {
			pids[spec.Name] = seen(t, answers[n]).PID
		}
		if n := len(slices.Compact(slices.Sorted(maps.Values(pids)))); n != len(specs) {
			t.Fatalf("%d processes serve %d apps: %v", n, len(specs), pids)
		}
		h.rollout(h.recycle("web-1"))
		for name, pid := range pids {
			if now := h.see(name, "/see/x", nil).PID; (now == pid) == (name == "web-1") {
				t.Errorf("%s was process %d and is %d, after web-1 was recycled", name, pid, now)
			}
		}
	})
}

func TestModuleStart_SlowAppsHaveALimit(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		for name, tt := range map[string]struct {
			ms    string
			limit time.Duration
			want  int
			code  string
		}{
			"in-time":  {"1500", patience, http.StatusOK, ""},
			"too-late": {"60000", time.Second, http.StatusBadGateway, "start-timeout"},
		} {
			spec := a.spec(h, name)
			a.startsSlowly(spec, tt.ms)
			spec.Start = &roostv1.Start{Timeout: durationpb.New(tt.limit)}
			h.apply(spec)
			if r := h.get(name, "/see/x").wants(t, tt.want); r.header.Get("Roost-Error") != tt.code {
				t.Errorf("%s: %v", name, r)
			}
		}
	})
}

func TestModuleStart_FixedPort(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		spec := a.spec(h, "web")
		spec.Listen = &roostv1.Listen{Port: int32(port)}
		spec.Recycle.Overlap = new(false)
		h.apply(spec)
		for range 2 { // a recycle gives the same one
			env := h.envOf("web")
			if want := fmt.Sprint(port); env["ASPNETCORE_PORT"] != want || h.live("web")[0].Address != "127.0.0.1:"+want {
				t.Errorf("ASPNETCORE_PORT=%s and %v, want port %s", env["ASPNETCORE_PORT"], h.live("web")[0], want)
			}
			h.rollout(h.recycle("web"))
		}
	})
}

func TestModuleStart_LongAndOddVariablesArriveWhole(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		vars := map[string]string{
			"LONG":                       strings.Repeat("abc1=;%", 10_000),
			"EMPTY":                      "",
			"ConnectionStrings__Default": "Server=db;Password=a$$b\"c'd",
			"Site__Title":                "Läuft — 雀",
			"GREETING":                   "port ${PORT} of ${ROOST_APP}",
		}
		h.apply(withEnv(a.spec(h, "web"), maps.Clone(vars)))
		env := h.envOf("web")
		vars["ConnectionStrings__Default"] = "Server=db;Password=a$b\"c'd"
		vars["GREETING"] = "port " + env["PORT"] + " of web"
		for name, want := range vars {
			if got, ok := env[name]; !ok || got != want {
				t.Errorf("%s has %d bytes and is %.60q, want %d bytes, %.60q", name, len(got), got, len(want), want)
			}
		}
	})
}

// As many processes as were asked for take turns, and one where one is.
func TestModuleStart_ProcessesPerApplication(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		spec := a.spec(h, "web")
		spec.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}
		for _, n := range []int{a.many, 2, 1} {
			spec.Instances = new(int32(n))
			h.apply(spec)
			h.eventually("all of them are ready", func() bool { return h.app("web").Ready == int32(n) })
			pids := map[int]bool{}
			for range 20 {
				pids[h.see("web", "/see/x", nil).PID] = true
			}
			if len(pids) != n {
				t.Errorf("%d processes answer 20 requests, want %d", len(pids), n)
			}
		}
	})
}

// An app that is preloaded runs before anybody asks for it, and has answered its page.
func TestModuleStart_PreloadedAndWarm(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		spec := a.spec(h, "web")
		spec.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT, Warmup: "/see/warm"}
		h.apply(spec)
		h.eventually("it runs, though nobody has asked", func() bool { return h.app("web").Ready == 1 })
		warm := slices.DeleteFunc(h.seen("web"), func(e *roostv1.Event) bool { return e.Id != "InstanceWarm" })
		if len(warm) != 1 || !contains(warm[0].Message, "GET /see/warm") || warm[0].Severity != roostv1.EventSeverity_EVENT_SEVERITY_INFO {
			t.Errorf("it was warmed up so: %v", warm)
		}
		pid := h.live("web")[0].Pid
		if s := h.see("web", "/see/x", nil); s.PID != int(pid) {
			t.Errorf("process %d answers, and %d was there before", s.PID, pid)
		}
	})
}
