package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// moduleApp is an app that works with the ASP.NET Core Module.
type moduleApp struct {
	spec func(h *host, name string) *roostv1.AppSpec
	// slow is a path that is answered with done after some milliseconds.
	slow func(ms string) string
	done string
	// stopsSlowly makes the app serve so many milliseconds after it was told to stop.
	stopsSlowly func(spec *roostv1.AppSpec, ms string)
	// startsSlowly makes it listen so many milliseconds later.
	startsSlowly func(spec *roostv1.AppSpec, ms string)
	// takes is a path that takes a POST, and answers with the sum of its body.
	takes string
	// many is how many of them one machine may run beside other tests.
	many int
}

// busy makes two requests that take a while, and returns once both are in flight; done
// waits for their answers. Of a single one the daemon's word could be about one before
// it, of which it has only just heard.
func (a moduleApp) busy(h *host, name string) (done func()) {
	h.Helper()
	h.eventually("no other request is open", func() bool { return h.inFlight(name) == 0 })
	replies := make(chan reply, 2)
	for range 2 {
		go func() { replies <- h.get(name, a.slow("4000")) }()
	}
	h.eventually("both requests are open", func() bool { return h.inFlight(name) == 2 })
	return func() {
		h.Helper()
		for range 2 {
			if r := (<-replies).wants(h, http.StatusOK); r.body != a.done {
				h.Errorf("an open request got %v", r)
			}
		}
	}
}

// moduleApps are a real one, where there is one, and ours that behaves like it.
var moduleApps = map[string]moduleApp{
	"kestrel": {
		spec: (*host).kestrel,
		slow: func(ms string) string { return "/slow?ms=" + ms }, done: "done\n",
		stopsSlowly:  func(spec *roostv1.AppSpec, ms string) { spec.Env["PROBE_STOP_DELAY_MS"] = ms },
		startsSlowly: func(spec *roostv1.AppSpec, ms string) { spec.Env["PROBE_START_DELAY_MS"] = ms },
		takes:        "/upload", many: 4,
	},
	"go": {
		spec: func(h *host, name string) *roostv1.AppSpec { return h.behindModule(name, "accepts") },
		slow: func(ms string) string { return "/sleep?for=" + ms + "ms" }, done: "xxxxxxxxxx",
		stopsSlowly:  func(spec *roostv1.AppSpec, ms string) { spec.Command = append(spec.Command, "-stop-delay", ms+"ms") },
		startsSlowly: func(spec *roostv1.AppSpec, ms string) { spec.Command = append(spec.Command, "-boot", ms+"ms") },
		takes:        "/sum", many: 10,
	},
}

// behindModule is the test app with the middleware, which does what it is told to
// with the shutdown request.
func (h *host) behindModule(name, shutdown string, args ...string) *roostv1.AppSpec {
	h.Helper()
	spec := h.spec(name, append([]string{"-module", shutdown}, args...)...)
	spec.Preset = roostv1.Preset_PRESET_ASPNETCORE
	return spec
}

// eachModuleApp runs a test with each of the apps.
func eachModuleApp(t *testing.T, test func(t *testing.T, h *host, a moduleApp)) {
	t.Parallel()
	for name, a := range moduleApps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "kestrel" {
				kestrelBundle(t)
			}
			test(t, newHost(t), a)
		})
	}
}

func TestModule_TokenIsAskedForAndNeverShown(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		spec := a.spec(h, "web")
		spec.Restart = &roostv1.Restart{When: roostv1.RestartWhen_RESTART_WHEN_NEVER}
		h.apply(spec)
		tokens := h.see("web", "/see/x", nil).Headers["MS-ASPNETCORE-TOKEN"]
		if len(tokens) == 0 { // Go writes the names of fields its own way
			tokens = h.see("web", "/see/x", nil).Headers["Ms-Aspnetcore-Token"]
		}
		if len(tokens) != 1 || len(tokens[0]) < 22 {
			t.Fatalf("tokens %q", tokens)
		}
		i := h.live("web")[0]
		for name, value := range map[string]string{"none": "", "wrong": "guess", "cut": tokens[0][1:]} {
			if got := direct(h, i.Address, value); got != http.StatusBadRequest {
				t.Errorf("%s: a direct request is answered %d, want 400", name, got)
			}
		}
		if got := direct(h, i.Address, tokens[0]); got != http.StatusOK {
			t.Fatalf("with the token it is answered %d", got)
		}
		h.eventually("the app's complaint is there, without the token", func() bool {
			return strings.Count(h.ctlOut("logs", "web"), "expected pairing token '***', request rejected") == 3
		})
		kill(t, i.Pid)
		h.eventually("the instance's end is told", func() bool { return h.count("web", "InstanceExited") == 1 })
		shown := map[string]string{
			"logs": h.ctlOut("logs", "web", "-o", "json"), "events": h.ctlOut("events", "-o", "json"), "ps": h.ctlOut("ps", "-a", "-o", "json"),
			"get": h.ctlOut("get", "web", "-o", "json"), "log of the daemon": h.daemon.output(), "log of the proxy": h.proxy.output(),
		}
		if access, err := os.ReadFile(filepath.Join(h.dir, "access.log")); err == nil {
			shown["access log"] = string(access)
		}
		for where, text := range shown {
			if contains(text, tokens[0]) || contains(text, tokens[0][5:]) {
				t.Errorf("the token is in %s:\n%s", where, text)
			}
		}
		for _, where := range []string{"events", "ps"} { // the output that goes with the end
			if !contains(shown[where], "expected pairing token '***'") {
				t.Errorf("%s do not show the app's last output:\n%s", where, shown[where])
			}
		}
	})
}

// direct asks an app without its proxy and returns the status.
func direct(h *host, address, token string) int {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://"+address+"/see/x", nil)
	if err != nil {
		h.Fatal(err)
	}
	if token != "" {
		req.Header.Set("MS-ASPNETCORE-TOKEN", token)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		h.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestModule_ThePageOfAFailedStartHidesTheToken(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.behindModule("web", "accepts")
	spec.Command = []string{"sh", "-c", `echo "I expected '$ASPNETCORE_TOKEN'"; exit 3`}
	spec.Env = map[string]string{"ASPNETCORE_ENVIRONMENT": "Development"}
	h.apply(spec)
	r := h.do(http.MethodGet, "web", "/", http.Header{"Accept": {"text/html"}})
	if r.status != http.StatusBadGateway || !contains(r.body, "I expected &#39;***&#39;") {
		t.Errorf("the page is %v", r)
	}
}

func TestModule_PathBase(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		spec := a.spec(h, "web")
		spec.Routes[0].Path = "/Shop"
		h.apply(spec)
		for base, target := range map[string]string{"/Shop": "/Shop/see/a%2Fb/%41?q=%zz&x", "/SHOP": "/SHOP/see/x", "/shop": "/shop/see/x"} {
			s := h.see("web", target, nil)
			if s.PathBase != base || !strings.HasPrefix(s.Path, "/see/") || s.RawTarget != target {
				t.Errorf("%s: path base %q, path %q, target %q", target, s.PathBase, s.Path, s.RawTarget)
			}
			if s.Headers["X-Forwarded-Prefix"] != nil {
				t.Errorf("%s: X-Forwarded-Prefix %q, and nothing was stripped", target, s.Headers["X-Forwarded-Prefix"])
			}
		}
		for _, path := range []string{"/", "/shopping", "/see/x"} {
			if r := h.get("web", path).wants(t, http.StatusNotFound); r.header.Get("Roost-Error") != "no-route" {
				t.Errorf("%s: %v", path, r)
			}
		}
	})
}

func TestModule_ForwardedSchemeAndAddress(t *testing.T) {
	spoofed := "X-Forwarded-For: 6.6.6.6\nX-Forwarded-Proto: https\nX-Original-For: 7.7.7.7\nx_original_proto: ftp\nMS-ASPNETCORE-WINAUTHTOKEN: 1\n"
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		h.apply(a.spec(h, "web"))
		trusting := start(h, "roost-proxy", "--listen", "127.0.0.1:0", "--daemon", "unix://"+h.socket,
			"--state-dir", filepath.Join(h.dir, "trusting"), "--trusted-proxies", "127.0.0.0/8")
		h.endFirst(trusting)
		for url, scheme := range map[string]string{h.url: "http", trusting.address("http"): "https"} {
			h.eventually("the proxy has the route", func() bool {
				r, _ := askVia(t, url, "")
				return r.status == http.StatusOK
			})
			r, from := askVia(t, url, spoofed)
			s := seen(t, r)
			if s.Scheme != scheme || s.Remote != from {
				t.Errorf("the app sees %s from %s, want %s from %s", s.Scheme, s.Remote, scheme, from)
			}
			for name, values := range s.Headers {
				if text := strings.Join(values, ", "); contains(text, "7.7.7.7") || text == "ftp" || strings.EqualFold(name, "MS-ASPNETCORE-WINAUTHTOKEN") {
					t.Errorf("%s: %q reached the app", name, values)
				}
			}
		}
	})
}

// askVia asks for web.test/see/x by a connection of its own, whose address is
// returned too.
func askVia(t testing.TB, url, fields string) (r reply, from string) {
	t.Helper()
	c, err := dialClient(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	c.send(t, "GET /see/x HTTP/1.1\nHost: web.test\n%s\n", strings.ReplaceAll(fields, "\n", "\r\n"))
	resp, body := c.receive(t, http.MethodGet)
	return reply{resp.StatusCode, resp.Header, body, nil}, c.conn.LocalAddr().String()
}

func TestModule_EnvironmentOfTheUsers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := withEnv(h.behindModule("web", "accepts"), map[string]string{
		"ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "false", "ASPNETCORE_URLS": "http://*:5000", "ASPNETCORE_APPL_PATH": "/x",
		"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "Mine", "DOTNET_SHUTDOWNTIMEOUTSECONDS": "3",
	})
	h.apply(spec)
	var vars []string
	if err := json.Unmarshal([]byte(h.get("web", "/env").wants(t, http.StatusOK).body), &vars); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED=false", "ASPNETCORE_URLS=http://*:5000", "ASPNETCORE_APPL_PATH=/", "ASPNETCORE_IIS_HTTPAUTH=anonymous;",
		"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES=Mine", "DOTNET_SHUTDOWNTIMEOUTSECONDS=3", "ASPNETCORE_IIS_PHYSICAL_PATH=" + spec.Dir,
	} {
		if !strings.Contains("\n"+strings.Join(vars, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("%s is not in %q", want, vars)
		}
	}
	spec.Env["ASPNETCORE_PORT"] = "5000"
	if _, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}}); err == nil || !contains(err.Error(), "listen.port") {
		t.Errorf("a port of its own: %v", err)
	}
}

// timeouts are a stop's.
func timeouts(drain, timeout time.Duration) *roostv1.Stop {
	return &roostv1.Stop{Drain: durationpb.New(drain), Timeout: durationpb.New(timeout)}
}

func TestModule_ByManifest(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dir := h.behindModule("web", "accepts").Dir
	h.ctlOut("apply", h.manifest("apps:\n  web:\n    preset: aspnetcore\n    dir: "+dir+"\n    command: "+filepath.Join(bin, "testapp")+
		" -module accepts\n    routes: [{host: web.test, path: /Shop}]\n"))
	if s := h.see("web", "/shop/see/x", nil); s.PathBase != "/shop" {
		t.Errorf("%+v", s)
	}
	if got := h.ctlOut("get", "web", "-o", "yaml"); !contains(got, "preset: aspnetcore") {
		t.Errorf("get -o yaml:\n%s", got)
	}
	code, _, errs := h.ctl("", "apply", "--dry-run", h.manifest("apps:\n  web:\n    preset: aspnetcore\n    dir: "+dir+"\n    command: x\n    listen: {mode: unix}\n    env: {ASPNETCORE_PORT: 5000}\n"))
	if code != 2 || !contains(errs, "listen.port fixes a port") || !contains(errs, "preset aspnetcore gives the app its port") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// While an apply replaces instances, those with the preset and those without serve
// together, and the ones would refuse what is for the others.
func TestModule_ThePresetComesAndGoesUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	plain := h.spec("web")
	plain.Instances = new(int32(2))
	h.apply(plain)
	h.get("web", "/").wants(t, http.StatusOK)
	l := startLoad(h, "web", 8, 200, true)
	preset := h.behindModule("web", "accepts")
	preset.Instances = plain.Instances
	for _, spec := range []*roostv1.AppSpec{preset, plain} {
		h.apply(spec)
		if a := h.app("web"); a.DesiredGeneration != a.ServingGeneration {
			t.Errorf("generation %d serves, want %d", a.ServingGeneration, a.DesiredGeneration)
		}
	}
	l.end(t)
}
