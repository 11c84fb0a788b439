package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// dotnetHost is a host whose apps find dotnet in their PATH, as one does that has
// the runtime installed.
func dotnetHost(t testing.TB) *host {
	t.Helper()
	return newHostBy(t, []string{"env", "PATH=" + kestrelDotnet(t) + ":" + os.Getenv("PATH")})
}

func TestKestrel_ItsPublishFolderIsHostedAsItIs(t *testing.T) {
	t.Parallel()
	h := dotnetHost(t)
	dir := filepath.Join(h.dir, "apps", "shop")
	publishKestrel(h, dir)

	code, stdout, stderr := h.ctl("", "apply", dir, "--host", "shop.test")
	if code != 0 || !contains(stdout, "shop   created") || strings.Contains(stderr, "warning") {
		t.Fatalf("exit %d: %s\n%s", code, stdout, stderr)
	}
	s := h.see("shop", "/see/first", nil)
	if s.Path != "/see/first" || s.PathBase != "" || s.ContentRoot != dir {
		t.Errorf("it sees %+v", s)
	}
	spec := h.app("shop").GetSpec()
	if spec.GetPreset() != roostv1.Preset_PRESET_ASPNETCORE || strings.Join(spec.GetCommand(), " ") != "dotnet ./KestrelApp.dll" ||
		spec.GetIdle().GetAfter().AsDuration().Minutes() != 20 || spec.GetRequests().GetMaxBody() != 30_000_000 {
		t.Errorf("spec %v", spec)
	}
	if out := h.ctlOut("apply", filepath.Join(dir, "web.config"), "--host", "shop.test"); !contains(out, "shop   unchanged") {
		t.Errorf("apply of the file again: %s", out)
	}
}

// TestKestrel_WhatAnEditedWebConfigSays has the module's settings reach a real app.
func TestKestrel_WhatAnEditedWebConfigSays(t *testing.T) {
	t.Parallel()
	h := dotnetHost(t)
	dir := filepath.Join(h.dir, "apps", "shop")
	publishKestrel(h, dir)
	file := filepath.Join(dir, "web.config")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.NewReplacer(
		`hostingModel="OutOfProcess" />`, `hostingModel="inprocess"><environmentVariables>`+
			`<environmentVariable name="ASPNETCORE_ENVIRONMENT" value="Staging"/>`+
			`<environmentVariable name="Price:In" value="%ASPNETCORE_ENVIRONMENT% $5"/>`+
			`</environmentVariables></aspNetCore><webSocket enabled="false"/>`+
			`<security><requestFiltering><requestLimits maxAllowedContentLength="1000"/></requestFiltering></security>`,
		`.\KestrelApp.dll`, `.\kestrelapp.DLL`).Replace(string(text))
	if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}

	code, stdout, stderr := h.ctl("", "apply", dir, "--name", "web", "--path", "/shop")
	if code != 0 || !contains(stderr, "hostingModel inprocess: the app runs out of process here") || !contains(stderr, "kestrelapp.DLL is KestrelApp.dll on disk") {
		t.Fatalf("exit %d: %s\n%s", code, stdout, stderr)
	}
	s := h.see("web", "/shop/see/x", nil)
	if s.PathBase != "/shop" || s.Path != "/see/x" || s.Environment != "Staging" {
		t.Errorf("it sees %+v", s)
	}
	if r := h.get("web", "/shop/env").wants(t, http.StatusOK); !contains(r.body, `"Price__In":"Staging $5"`) || !contains(r.body, `"ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED":"false"`) {
		t.Errorf("environment %s", r.body)
	}
	body := strings.Repeat("x", 1001)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.url+"/shop/upload", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body above the limit: %s", resp.Status)
	}
}
