package app

import (
	"maps"
	"slices"
	"testing"
	"time"
)

func hosted() Launch {
	s := valid()
	s.Preset = PresetASPNETCore
	return Launch{Spec: s.WithDefaults(), Dir: "/srv/web", Port: 20001, Token: "t0ken", PathBase: "/Shop"}
}

func TestModuleVariables(t *testing.T) {
	own, defaults := hosted().ModuleVariables()
	if want := map[string]string{
		"ASPNETCORE_PORT": "20001", "ASPNETCORE_APPL_PATH": "/Shop", "ASPNETCORE_TOKEN": "t0ken",
		"ASPNETCORE_IIS_HTTPAUTH": "anonymous;", "ASPNETCORE_IIS_PHYSICAL_PATH": "/srv/web",
	}; !maps.Equal(own, want) {
		t.Errorf("own: %v, want %v", own, want)
	}
	if want := map[string]string{
		"ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "true", "ASPNETCORE_URLS": "http://127.0.0.1:20001",
		"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "Microsoft.AspNetCore.Server.IISIntegration", "DOTNET_SHUTDOWNTIMEOUTSECONDS": "9",
	}; !maps.Equal(defaults, want) {
		t.Errorf("defaults: %v, want %v", defaults, want)
	}
	l := hosted()
	l.Spec.Preset = ""
	if own, defaults := l.ModuleVariables(); len(own)+len(defaults) > 0 {
		t.Errorf("without the preset: %v %v", own, defaults)
	}
}

func TestModuleVariables_WhatTheUserSaysOfTheDefaults(t *testing.T) {
	l := hosted()
	l.PathBase, l.HTTPSPort = "", 8443
	own, defaults := l.ModuleVariables(map[string]string{"aspnetcore_iis_websockets_supported": "false"}, map[string]string{"ASPNETCORE_URLS": ""})
	if own["ASPNETCORE_APPL_PATH"] != "/" {
		t.Errorf("path %q, want /", own["ASPNETCORE_APPL_PATH"])
	}
	if got, want := slices.Sorted(maps.Keys(defaults)), []string{"ASPNETCORE_ANCM_HTTPS_PORT", "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES", "DOTNET_SHUTDOWNTIMEOUTSECONDS"}; !slices.Equal(got, want) {
		t.Errorf("defaults %v, want %v", got, want)
	}
	if got := defaults["ASPNETCORE_ANCM_HTTPS_PORT"]; got != "8443" {
		t.Errorf("https port %q", got)
	}
}

func TestModuleVariables_ShutdownTimeoutLeavesTimeToEnd(t *testing.T) {
	for limit, want := range map[time.Duration]string{
		0: "", 500 * time.Millisecond: "1", time.Second: "1", 2500 * time.Millisecond: "1", 30 * time.Second: "29",
	} {
		l := hosted()
		l.Spec.Stop.Timeout = &limit
		if _, defaults := l.ModuleVariables(); defaults["DOTNET_SHUTDOWNTIMEOUTSECONDS"] != want {
			t.Errorf("stop.timeout %v: %q, want %q", limit, defaults["DOTNET_SHUTDOWNTIMEOUTSECONDS"], want)
		}
	}
	if _, defaults := hosted().ModuleVariables(map[string]string{"ASPNETCORE_SHUTDOWNTIMEOUTSECONDS": "3"}); defaults["DOTNET_SHUTDOWNTIMEOUTSECONDS"] != "" {
		t.Error("it overrules what the user says under the other name")
	}
}

func TestWithoutModuleVariables_DropsWhatIsOverwritten(t *testing.T) {
	got := hosted().WithoutModuleVariables(map[string]string{
		"ASPNETCORE_IIS_HTTPAUTH": "windows;", "aspnetcore_appl_path": "/x", "Aspnetcore_Token": "mine", "ASPNETCORE_URLS": "http://*:5000", "A": "b",
	})
	if want := map[string]string{"ASPNETCORE_URLS": "http://*:5000", "A": "b"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSpec_ValidateOfTheModulesVariables(t *testing.T) {
	s := valid()
	s.Preset = PresetASPNETCore
	s.Env = map[string]string{
		"ASPNETCORE_IIS_HTTPAUTH": "windows;", "ASPNETCORE_APPL_PATH": "/x", "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "false", "ASPNETCORE_URLS": "http://*:1",
	}
	s.Command = []string{"dotnet", "--port=${ASPNETCORE_PORT}", "${ASPNETCORE_URLS}"}
	if got := s.WithDefaults().Validate(); len(got) > 0 {
		t.Fatalf("violations: %v", got)
	}
	s.Env = map[string]string{"ASPNETCORE_PORT": "5000", "aspnetcore_token": "x"}
	s.Command = []string{"dotnet", "${ASPNETCORE_TOKEN}"}
	got := s.WithDefaults().Validate()
	want := []Violation{
		{Field: "command[1]", Message: "${ASPNETCORE_TOKEN} does not expand in a command, where every user could read it: let the app read its environment"},
		{Field: "env.ASPNETCORE_PORT", Message: "Roost sets ASPNETCORE_PORT itself: take it out (listen.port fixes a port)"},
		{Field: "env.aspnetcore_token", Message: "Roost sets aspnetcore_token itself: take it out"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	s.Preset = ""
	s.Command = []string{"dotnet"}
	if got := s.WithDefaults().Validate(); len(got) > 0 {
		t.Fatalf("without the preset they are anybody's: %v", got)
	}
}
