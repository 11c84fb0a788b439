package e2e

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// ctl runs roostctl and returns its exit code and what it printed.
func (h *host) ctl(stdin string, args ...string) (code int, stdout, stderr string) {
	h.Helper()
	cmd := exec.CommandContext(h.Context(), filepath.Join(bin, "roostctl"), append([]string{"--daemon", "unix://" + h.socket}, args...)...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Dir = h.dir
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		h.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestBadInput_StartFailuresArePrecise(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	taken := int32(busy.Addr().(*net.TCPAddr).Port)

	tests := map[string]struct {
		change    func(h *host, s *roostv1.AppSpec)
		roostErr  string
		says      []string // in the event
		hasOutput bool
	}{
		"missing binary": {
			change:   func(_ *host, s *roostv1.AppSpec) { s.Command = []string{"./no-such-program"} },
			roostErr: "start-failed", says: []string{"no-such-program"},
		},
		"bare name not in PATH": {
			change:   func(_ *host, s *roostv1.AppSpec) { s.Command = []string{"no-such-program"} },
			roostErr: "start-failed", says: []string{"no-such-program", "PATH"},
		},
		"not executable": {
			change: func(h *host, s *roostv1.AppSpec) {
				if err := os.WriteFile(filepath.Join(s.Dir, "script"), []byte("#!/bin/sh\n"), 0o644); err != nil {
					h.Fatal(err)
				}
				s.Command = []string{"./script"}
			},
			roostErr: "start-failed", says: []string{"script", "execut"},
		},
		"missing interpreter": {
			change: func(h *host, s *roostv1.AppSpec) {
				if err := os.WriteFile(filepath.Join(s.Dir, "script"), []byte("#!/no/such/sh\n"), 0o755); err != nil {
					h.Fatal(err)
				}
				s.Command = []string{"./script"}
			},
			roostErr: "start-failed", says: []string{"/no/such/sh"},
		},
		"unknown user": {
			change:   func(_ *host, s *roostv1.AppSpec) { s.User = "nobody-of-this-name" },
			roostErr: "start-failed", says: []string{"nobody-of-this-name"},
		},
		"missing env file": {
			change:   func(_ *host, s *roostv1.AppSpec) { s.EnvFiles = []string{"/no/such.env"} },
			roostErr: "start-failed", says: []string{"/no/such.env"},
		},
		"exits at once": {
			change:   func(_ *host, s *roostv1.AppSpec) { s.Command = append(s.Command, "-exit", "3") },
			roostErr: "start-failed", says: []string{"3", "cannot open the database"}, hasOutput: true,
		},
		"never listens": {
			change: func(_ *host, s *roostv1.AppSpec) {
				s.Command = append(s.Command, "-never")
				s.Start = &roostv1.Start{Timeout: durationpb.New(time.Second)}
			},
			roostErr: "start-timeout", says: []string{"listen"}, hasOutput: true,
		},
		"listens on another port": {
			change: func(_ *host, s *roostv1.AppSpec) {
				s.Command = append(s.Command, "-other-port")
				s.Start = &roostv1.Start{Timeout: durationpb.New(time.Second)}
			},
			roostErr: "start-timeout", says: []string{"127.0.0.1:"}, hasOutput: true,
		},
		"listens on another address": {
			change: func(_ *host, s *roostv1.AppSpec) {
				s.Command = append(s.Command, "-other-addr")
				s.Start = &roostv1.Start{Timeout: durationpb.New(time.Second)}
			},
			says: []string{"127.0.0.2"}, hasOutput: true,
		},
		"fixed port taken": {
			change: func(_ *host, s *roostv1.AppSpec) {
				s.Listen = &roostv1.Listen{Port: taken}
				s.Recycle.Overlap = new(false)
				s.Start = &roostv1.Start{Timeout: durationpb.New(2 * time.Second)}
			},
			roostErr: "start-failed", says: []string{itoa(taken)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			spec := h.spec("web")
			tt.change(h, spec)
			h.apply(spec) // what only the start can show refuses no write
			r := h.get("web", "/").wants(t, http.StatusBadGateway)
			if got := r.header.Get("Roost-Error"); tt.roostErr != "" && got != tt.roostErr {
				t.Errorf("Roost-Error %q, want %q", got, tt.roostErr)
			}
			if contains(r.body, "database") || contains(r.body, h.dir) {
				t.Errorf("the public answer shows the app's own: %s", r.body)
			}
			var said strings.Builder
			for _, e := range h.seen("web") {
				if e.Id == "StartFailed" {
					said.WriteString(e.Message + e.Attributes["output"])
				}
			}
			for _, s := range tt.says {
				if !contains(said.String(), s) {
					t.Errorf("the event does not name %q: %s", s, said.String())
				}
			}
			if tt.hasOutput && !contains(said.String(), "started") {
				t.Errorf("the event does not show the app's output: %s", said.String())
			}
			code, _, stderr := h.ctl("", "start", "web")
			if code != 1 {
				t.Errorf("roostctl start exits %d, want 1", code)
			}
			for _, s := range tt.says {
				if !contains(stderr, s) {
					t.Errorf("roostctl start does not name %q: %s", s, stderr)
				}
			}
			h.eventually("nothing is left of it", func() bool { return len(h.inFolder("web")) == 0 })
		})
	}
}

func TestBadInput_ManifestFaultsAreAllShownAtTheirLines(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	manifest := `apps:
  web:
    comand: ./web
    instances: many
    start: {when: sometimes}
    start: {when: boot}
  api:
    command: ./api
    listen: {port: 70000}
`
	code, _, stderr := h.ctl(manifest, "apply", "-", "--base-dir", h.dir)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{":3:5: ", "command", ":4:16: ", ":5:19: ", ":6:5: ", ":9:20: ", "^"} {
		if !contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	if code, out, _ := h.ctl("", "ls", "-o", "name"); code != 0 || out != "" {
		t.Errorf("something was applied: %d %q", code, out)
	}
}

func TestBadInput_ConflictsOfTwoAppsApplyNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	fixed := func(name string) *roostv1.AppSpec {
		s := h.spec(name)
		s.Listen, s.Recycle.Overlap = &roostv1.Listen{Port: 29001}, new(false)
		return s
	}
	sameRoute := func(name string) *roostv1.AppSpec {
		s := h.spec(name)
		s.Routes = []*roostv1.Route{{Host: "shared.test"}}
		return s
	}
	for name, specs := range map[string][]*roostv1.AppSpec{
		"port":  {h.spec("bystander"), fixed("one"), fixed("two")},
		"route": {h.spec("bystander"), sameRoute("one"), sameRoute("two")},
	} {
		_, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: specs})
		if err == nil || !contains(err.Error(), "one") || !contains(err.Error(), "two") {
			t.Errorf("%s: error %v does not name both apps", name, err)
		}
	}
	if code, out, _ := h.ctl("", "ls", "-o", "name"); code != 0 || out != "" {
		t.Errorf("something was applied: %d %q", code, out)
	}
}

func TestBadInput_ExitCodes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	if code, _, stderr := h.ctl("", "get", "nope"); code != 3 || !contains(stderr, "nope") {
		t.Errorf("unknown app: exit %d, %s", code, stderr)
	}
	if code, _, stderr := h.ctl("", "frobnicate"); code != 2 {
		t.Errorf("unknown verb: exit %d, %s", code, stderr)
	}
	if code, _, stderr := h.ctl("apps: {web: {command: x, dir: /no/such}}", "apply", "-"); code != 2 || !contains(stderr, "/no/such") {
		t.Errorf("bad dir: exit %d, %s", code, stderr)
	}
	h.socket += ".other"
	if code, _, stderr := h.ctl("", "ls"); code != 7 || !contains(stderr, h.socket) {
		t.Errorf("no daemon: exit %d, %s", code, stderr)
	}
	h.socket = strings.TrimSuffix(h.socket, ".other")
}

func TestBadInput_ConflictsAreShownAtTheirLines(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	old := h.spec("old")
	old.Listen, old.Recycle.Overlap = &roostv1.Listen{Port: 29002}, new(false)
	h.apply(old)
	tests := map[string]struct {
		manifest string
		says     []string
	}{
		"two routes in one manifest": {
			"apps:\n  one: {command: APP, routes: [{host: x.test}]}\n  two: {command: APP, routes: [{host: x.test}]}\n",
			[]string{"roost.yaml:3:", "one", "x.test", "^"},
		},
		"two fixed ports in one manifest": {
			"defaults: {recycle: {overlap: false}}\napps:\n  one: {command: APP, listen: {port: 29003}}\n  two: {command: APP, listen: {port: 29003}}\n",
			[]string{"roost.yaml:4:", "one", "29003", "^"},
		},
		"the route of an app that is there": {
			"apps:\n  one: {command: APP}\n  two: {command: APP, routes: [{host: old.test}]}\n", []string{"roost.yaml:3:", "old", "^"},
		},
		"the port of an app that is there": {
			"apps:\n  one: {command: APP}\n  two: {command: APP, listen: {port: 29002}, recycle: {overlap: false}}\n", []string{"roost.yaml:3:", "old", "29002", "^"},
		},
	}
	for name, tt := range tests {
		for _, flag := range []string{"--dry-run", "--no-wait"} {
			code, _, stderr := h.ctl("", "apply", flag, h.manifest(tt.manifest))
			if code != 2 && code != 5 {
				t.Errorf("%s %s: exit %d", name, flag, code)
			}
			for _, s := range tt.says {
				if !contains(stderr, s) {
					t.Errorf("%s %s: no %q in %s", name, flag, s, stderr)
				}
			}
		}
	}
	if out := h.ctlOut("ls", "-o", "name"); out != "old\n" {
		t.Errorf("something was applied: %q", out)
	}
}

func TestBadInput_OutOfRange(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	faults := map[string]string{
		"instances: 0": "instances", "instances: 101": "instances", "listen: {port: -1}": "listen.port", "stop: {timeout: -1s}": "negative",
		"stop: {signal: SIGNOPE}": "stop.signal", "umask: '999'": "umask", "requests: {queue: -1}": "requests.queue",
		"listen: {mode: none}, routes: [{host: a.test}]": "routes", "listen: {mode: none}, idle: {after: 1m}": "idle",
		"listen: {port: 5000}": "recycle.overlap", "listen: {port: 5000}, recycle: {overlap: false}, instances: 2": "instances",
		"ready: {http: {path: nowhere}}": "ready.http.path", "ready: {log: {pattern: '('}}": "ready.log.pattern", "routes: [{path: x}]": "routes[0].path",
		"restart: {rapid_fails_per_minute: -1}": "restart.rapid_fails_per_minute", "limits: {nofile: -5}": "limits.nofile", "env: {'A=B': c}": "env",
		"limits: {memory: 12Parsecs}": "", "start: {timeout: soon}": "", "preset: iis": "preset",
	}
	for fault, field := range faults {
		code, _, stderr := h.ctl("", "apply", h.manifest("apps:\n  web: {command: APP, "+fault+"}\n"))
		if code != 2 || !contains(stderr, "roost.yaml:2:") || !contains(stderr, field) || !contains(stderr, "^") {
			t.Errorf("%s: exit %d: %s", fault, code, stderr)
		}
	}
	for _, name := range []string{"Web", "-web", "web-", "we b", "a/b", "'..'", "a.b", strings.Repeat("x", 64)} {
		if code, _, stderr := h.ctl("", "apply", h.manifest("apps:\n  "+name+": {command: APP}\n")); code != 2 || !contains(stderr, "roost.yaml:2:") {
			t.Errorf("name %s: exit %d: %s", name, code, stderr)
		}
	}
	if out := h.ctlOut("ls", "-o", "name"); out != "" {
		t.Errorf("something was applied: %q", out)
	}
}

// A folder that was there at the apply and is not at the start.
func TestBadInput_WorkingFolderGone(t *testing.T) {
	t.Parallel()
	ways := map[string]func(dir string) error{
		"removed":        os.Remove,
		"a file instead": func(dir string) error { return errorsOf(os.Remove(dir), os.WriteFile(dir, nil, 0o644)) },
	}
	for name, spoil := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			spec := h.spec("web")
			h.apply(spec)
			if err := spoil(spec.Dir); err != nil {
				t.Fatal(err)
			}
			r := h.get("web", "/").wants(t, http.StatusBadGateway)
			if got := r.header.Get("Roost-Error"); got != "start-failed" || contains(r.body, spec.Dir) {
				t.Errorf("Roost-Error %q: %s", got, r.body)
			}
			code, _, stderr := h.ctl("", "start", "web")
			if code != 1 || !contains(stderr, spec.Dir) {
				t.Errorf("roostctl start: exit %d: %s", code, stderr)
			}
			if events := h.ctlOut("events", "web"); !contains(events, spec.Dir) {
				t.Errorf("the events do not name the folder: %s", events)
			}
			_ = os.Remove(spec.Dir)
			if err := os.Mkdir(spec.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
			h.ctlOut("start", "web")
			h.get("web", "/").wants(t, http.StatusOK)
		})
	}
}
