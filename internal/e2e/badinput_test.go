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
