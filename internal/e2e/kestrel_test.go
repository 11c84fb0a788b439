package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// kestrel is a real ASP.NET Core app, published to a folder of its own, with the
// host name NAME.test. What the app offers is told where its archive is: it says
// what it sees at /see/ANYTHING, and dies, hangs and floods as it is asked to.
func (h *host) kestrel(name string) *roostv1.AppSpec {
	h.Helper()
	dir := filepath.Join(h.dir, "apps", name)
	publishKestrel(h, dir)
	return &roostv1.AppSpec{
		Name: name, Dir: dir, Preset: roostv1.Preset_PRESET_ASPNETCORE,
		Command: []string{"dotnet", "KestrelApp.dll"},
		Env:     kestrelEnv(h),
		Routes:  []*roostv1.Route{{Host: name + ".test"}},
		Recycle: &roostv1.Recycle{MinReady: durationpb.New(300 * time.Millisecond)},
	}
}

// kestrelEnv is what the runtime needs on this host.
func kestrelEnv(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{
		"PATH": kestrelDotnet(t) + ":${PATH}",
		// Its diagnostics leave a socket in /tmp for each process that is killed.
		"DOTNET_EnableDiagnostics": "0",
	}
}

// seenByKestrel is what the app says that it saw of a request.
type seenByKestrel struct {
	PID               int
	Method            string
	Scheme            string
	Host              string
	PathBase          string
	Path              string
	RawTarget         string
	Query             string
	Remote            string
	Local             string
	WebSockets        bool
	ClientCertificate string
	User              string
	ContentRoot       string
	Environment       string
	Headers           map[string][]string
}

// see asks for a path below /see or /, and fails the test unless that is answered.
func (h *host) see(name, path string, header http.Header) seenByKestrel {
	h.Helper()
	return seen(h, h.do(http.MethodGet, name, path, header))
}

func seen(t testing.TB, r reply) seenByKestrel {
	t.Helper()
	r.wants(t, http.StatusOK)
	var s seenByKestrel
	if err := json.Unmarshal([]byte(r.body), &s); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	return s
}

// withEnv adds variables to a spec.
func withEnv(spec *roostv1.AppSpec, vars map[string]string) *roostv1.AppSpec {
	if spec.Env == nil {
		spec.Env = map[string]string{}
	}
	maps.Copy(spec.Env, vars)
	return spec
}

func TestKestrel_FirstRequestStartsIt(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.kestrel("web"))
	if n := len(h.live("web")); n != 0 {
		t.Fatalf("%d instances before the first request", n)
	}
	s := h.see("web", "/", nil)
	i := h.live("web")[0]
	if s.PID != int(i.Pid) || s.Local != i.Address || s.Scheme != "http" || s.Host != "web.test" {
		t.Errorf("it sees %+v, and is %v", s, i)
	}
	if s.ContentRoot != filepath.Join(h.dir, "apps", "web") {
		t.Errorf("content root %q", s.ContentRoot)
	}
}

func TestKestrel_Environment(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := withEnv(h.kestrel("web"), map[string]string{
		"ASPNETCORE_IIS_HTTPAUTH": "windows;", "aspnetcore_iis_physical_path": "/elsewhere", // overwritten, as the module does
		"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "", "ASPNETCORE_ENVIRONMENT": "Staging",
	})
	spec.Routes[0].Path = "/Shop"
	spec.Stop = &roostv1.Stop{Timeout: durationpb.New(7 * time.Second)}
	h.apply(spec)
	env := map[string]string{}
	r := h.get("web", "/Shop/env").wants(t, http.StatusOK)
	if err := json.Unmarshal([]byte(r.body), &env); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ASPNETCORE_PORT": env["PORT"], "ASPNETCORE_APPL_PATH": "/Shop", "ASPNETCORE_TOKEN": env["ROOST_TOKEN"],
		"ASPNETCORE_IIS_HTTPAUTH": "anonymous;", "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "true",
		"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "", "ASPNETCORE_IIS_PHYSICAL_PATH": spec.Dir,
		"ASPNETCORE_URLS": "http://127.0.0.1:" + env["PORT"], "DOTNET_SHUTDOWNTIMEOUTSECONDS": "6", "ASPNETCORE_ENVIRONMENT": "Staging",
	} {
		if got, ok := env[name]; !ok || got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
		delete(env, name)
	}
	for name := range env {
		if strings.HasPrefix(strings.ToUpper(name), "ASPNETCORE_") {
			t.Errorf("%s leaked in", name)
		}
	}
}

// TestUnpackOnce_AppearsWhole is of the harness: a run that is killed while it
// unpacks must not leave half a runtime for the next one.
func TestUnpackOnce_AppearsWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundle")
	broken := filepath.Join(t.TempDir(), "broken.tar.gz")
	if err := os.WriteFile(broken, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackOnce(broken, dir); err == nil {
		t.Fatal("a broken archive was unpacked")
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}
}
