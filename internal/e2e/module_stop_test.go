package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// exitOf is the event of the only instance's end.
func (h *host) exitOf(name string) *roostv1.Event {
	h.Helper()
	var found *roostv1.Event
	for _, e := range h.seen(name) {
		if e.Id == "InstanceExited" {
			if found != nil {
				h.Fatalf("two instances have ended: %v and %v", found, e)
			}
			found = e
		}
	}
	if found == nil {
		h.Fatal("no instance has ended")
	}
	return found
}

// wantExit fails the test unless the app's only instance has ended so.
func (h *host) wantExit(name, exit, request string, says ...string) {
	h.Helper()
	e := h.exitOf(name)
	if e.Attributes["exit"] != exit || e.Attributes["shutdown_request"] != request {
		h.Errorf("it ended so: %q, attributes %v; want %q and shutdown_request=%q", e.Message, e.Attributes, exit, request)
	}
	for _, part := range says {
		if !contains(e.Message, part) {
			h.Errorf("%q does not say %q", e.Message, part)
		}
	}
}

func TestModuleStop_RequestInFlightFinishes(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		spec := a.spec(h, "web")
		spec.Stop = timeouts(0, patience) // no drain: the app itself waits for what is open
		h.apply(spec)
		h.see("web", "/see/x", nil)
		done := a.busy(h, "web")
		h.stop("web")
		done()
		h.wantExit("web", "exited with code 0", "202", "by the shutdown request, which it accepted with 202")
	})
}

// The limits of the module's own test, of an app that needs long to stop: it ends
// by itself where the limit allows, and else is killed.
func TestModuleStop_EndsAtTheLesserOfNeedAndLimit(t *testing.T) {
	const need = "4000"
	limits := map[string]struct {
		timeout time.Duration
		exit    string
		request string
	}{
		"more":      {20 * time.Second, "exited with code 0", "202"},
		"none":      {0, "was ended by SIGKILL", ""},
		"a quarter": {time.Second, "was ended by SIGKILL", "202"},
		"much more": {30 * time.Second, "exited with code 0", "202"},
	}
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		for name, tt := range limits {
			t.Run(name, func(t *testing.T) {
				app := strings.ReplaceAll(name, " ", "-")
				spec := a.spec(h, app)
				a.stopsSlowly(spec, need)
				spec.Stop = timeouts(0, tt.timeout)
				h.apply(spec)
				h.see(app, "/see/x", nil)
				began := time.Now()
				h.stop(app)
				if took := time.Since(began); tt.request == "202" && took < min(tt.timeout, 4*time.Second) {
					t.Errorf("it ended after %v", took)
				}
				h.wantExit(app, tt.exit, tt.request)
			})
		}
	})
}

func TestModuleStop_WhatDoesNotTakeTheRequestGetsTheSignal(t *testing.T) {
	t.Parallel()
	for shutdown, want := range map[string]struct{ request, says string }{
		"refuses": {"403", "by SIGTERM, as it answered the shutdown request with 403"},
		"misses":  {"404", "by SIGTERM, as it answered the shutdown request with 404"},
		"hangs":   {"failed", "by SIGTERM, as the shutdown request failed"},
	} {
		t.Run(shutdown, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			spec := h.behindModule("web", shutdown)
			spec.Stop = timeouts(0, 3*time.Second)
			h.apply(spec)
			h.see("web", "/see/x", nil)
			h.stop("web")
			h.wantExit("web", "exited with code 0", want.request, want.says)
			if logs := h.ctlOut("logs", "web"); strings.Count(logs, "shutdown requested\n") != 1 || strings.Count(logs, "terminated\n") != 1 {
				t.Errorf("the app was not asked once, and then signalled:\n%s", logs)
			}
		})
	}
}

func TestModuleStop_WhatTakesNeitherIsKilled(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.behindModule("web", "hangs", "-ignore-term")
	spec.Stop = timeouts(0, time.Second)
	h.apply(spec)
	h.see("web", "/see/x", nil)
	h.stop("web")
	h.wantExit("web", "was ended by SIGKILL", "failed")
	if n := h.count("web", "InstanceKilled"); n != 1 {
		t.Errorf("%d events of a kill", n)
	}
}

func TestModuleStop_AnAppWithoutTheMiddleware(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web") // answers every path with 200, as an app with a catch-all does
	spec.Preset = roostv1.Preset_PRESET_ASPNETCORE
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	h.stop("web")
	h.wantExit("web", "exited with code 0", "200", "by SIGTERM, as it answered the shutdown request with 200")
}
