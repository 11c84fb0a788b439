package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func TestContract_EnvironmentIsExactlyWhatIsPromised(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	file := filepath.Join(spec.Dir, "secrets.env")
	if err := os.WriteFile(file, []byte("# comment\nFROM_FILE=secret\nBOTH=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec.EnvFiles = []string{file}
	spec.Env = map[string]string{"GREETING": "on ${PORT}, $$5", "BOTH": "env"}
	spec.Release = "r7"
	spec.Command = append(spec.Command, "-boot", "0s")
	h.apply(spec)
	var vars []string
	r := h.get("web", "/env").wants(t, http.StatusOK)
	if err := json.Unmarshal([]byte(r.body), &vars); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	known := []string{
		"PORT", "ROOST_APP", "ROOST_INSTANCE", "ROOST_RELEASE", "ROOST_PATH_BASE", "ROOST_TOKEN", "PATH", "LANG", "TZ", "TMPDIR",
		"HOME", "USER", "LOGNAME", "SHELL", "GREETING", "BOTH", "FROM_FILE",
	}
	for name := range env {
		if !slices.Contains(known, name) {
			t.Errorf("%s leaked in", name)
		}
	}
	i := h.live("web")[0]
	for name, want := range map[string]string{
		"ROOST_APP": "web", "ROOST_INSTANCE": i.Id, "ROOST_RELEASE": "r7", "FROM_FILE": "secret", "BOTH": "env",
		"GREETING": "on " + env["PORT"] + ", $5",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if !strings.HasSuffix(i.Address, ":"+env["PORT"]) || len(env["ROOST_TOKEN"]) < 22 {
		t.Errorf("address %s, PORT %s, a token of %d characters", i.Address, env["PORT"], len(env["ROOST_TOKEN"]))
	}
}

func TestContract_ForwardedRequest(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	r := h.do(http.MethodGet, "web", "/headers/a%2Fb/../c?x=1;y=%zz", http.Header{
		"Roost-Token": {"forged"}, "Roost_Token": {"forged"}, "X-Forwarded-For": {"6.6.6.6"}, "X_Forwarded_For": {"6.6.6.6"},
		"Connection": {"X-Forwarded-For, X-Mine"}, "X-Mine": {"1"}, "Ms-Aspnetcore-Token": {"forged"}, "X-Other": {"kept"},
	})
	if r.status == http.StatusOK && strings.Contains(r.body, `"uri"`) {
		t.Fatalf("the path was not resolved before it was forwarded: %v", r)
	}
	r = h.do(http.MethodGet, "web", "/headers?x=1;y=%zz", http.Header{
		"Roost-Token": {"forged"}, "Roost_Token": {"forged"}, "X-Forwarded-For": {"6.6.6.6"}, "X_Forwarded_For": {"6.6.6.6"},
		"Connection": {"X-Forwarded-For, X-Mine"}, "X-Mine": {"1"}, "Ms-Aspnetcore-Token": {"forged"}, "X-Other": {"kept"},
	}).wants(t, http.StatusOK)
	var seen struct {
		Host, URI string
		Header    http.Header
	}
	if err := json.Unmarshal([]byte(r.body), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Host != "web.test" || seen.URI != "/headers?x=1;y=%zz" {
		t.Errorf("host %q, uri %q", seen.Host, seen.URI)
	}
	for name, want := range map[string][]string{
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"web.test"}, "X-Other": {"kept"},
		"X_forwarded_for": nil, "X-Mine": nil, "Ms-Aspnetcore-Token": nil, "Roost_token": nil,
	} {
		if !slices.Equal(seen.Header[name], want) {
			t.Errorf("%s: %v, want %v", name, seen.Header[name], want)
		}
	}
	if token := seen.Header.Get("Roost-Token"); len(token) < 22 || token == "forged" {
		t.Errorf("Roost-Token %q", token)
	}
}

func TestContract_StrippedPathNamesItsPrefix(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Routes = []*roostv1.Route{{Path: "/app", StripPath: true}}
	h.apply(spec)
	r := h.get("anything", "/app/headers").wants(t, http.StatusOK)
	if !contains(r.body, `"uri":"/headers"`) || !contains(r.body, `"X-Forwarded-Prefix":["/app"]`) {
		t.Errorf("forwarded as %s", r.body)
	}
	r = h.get("anything", "/apple").wants(t, http.StatusNotFound)
	if got := r.header.Get("Roost-Error"); got != "no-route" {
		t.Errorf("Roost-Error %q, want no-route", got)
	}
}

func TestContract_IdentityAndLimits(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("changing the user needs root")
	}
	h := newHost(t)
	spec := h.spec("web")
	spec.User, spec.Umask = "nobody", "027"
	spec.Limits = &roostv1.Limits{Nofile: 333}
	h.apply(spec)
	who := h.get("web", "/whoami").wants(t, http.StatusOK).json(t)
	for name, want := range map[string]float64{"uid": 65534, "gid": 65534, "umask": 0o27, "nofile": 333} {
		if who[name] != want {
			t.Errorf("%s is %v, want %v", name, who[name], want)
		}
	}
	if groups, _ := who["groups"].([]any); len(groups) > 1 || len(groups) == 1 && groups[0] != float64(65534) {
		t.Errorf("groups %v, want the account's own only", who["groups"])
	}
}
