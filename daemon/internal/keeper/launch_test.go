package keeper

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/keepertest"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

// report launches an app that reports what it sees of itself.
func (f *fixture) report(l app.Launch, file string) keepertest.Report {
	f.tb.Helper()
	l.Spec.Env[keepertest.Variable] = "report:" + file
	p := f.launch(l)
	f.wait(p.Gone())
	data, err := os.ReadFile(file)
	if err != nil {
		f.tb.Fatalf("no report: %v; stderr: %s", err, f.output(p, "stderr"))
	}
	var r keepertest.Report
	if err := json.Unmarshal(data, &r); err != nil {
		f.tb.Fatal(err)
	}
	return r
}

func TestLaunch_EnvironmentIsExactlyTheContract(t *testing.T) {
	f := newFixture(t, "")
	dir := t.TempDir()
	envFile := filepath.Join(dir, "env")
	if err := os.WriteFile(envFile, []byte("SECRET=from file\nROOST_APP=evil\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := f.spec("")
	l.PathBase, l.Spec.Release = "/base", "v7"
	l.Spec.EnvFiles = []string{envFile}
	l.Spec.Env["GREETING"] = "port ${PORT}"
	l.Spec.Command = append(l.Spec.Command, "--port=${PORT}")
	l.Dir = dir
	r := f.report(l, filepath.Join(dir, "report"))
	env := map[string]string{}
	for _, entry := range r.Env {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	for name, want := range map[string]string{
		"PORT": "20001", "ROOST_APP": "web", "ROOST_INSTANCE": string(l.ID), "ROOST_RELEASE": "v7", "ROOST_PATH_BASE": "/base",
		"ROOST_TOKEN": "secret-token", "PATH": "/usr/bin:/bin", "GREETING": "port 20001", "SECRET": "from file",
	} {
		if env[name] != want {
			t.Errorf("%s = %q, want %q", name, env[name], want)
		}
		delete(env, name)
	}
	for _, name := range []string{"HOME", "USER", "LOGNAME", "SHELL", keepertest.Variable} {
		if env[name] == "" {
			t.Errorf("%s is not set", name)
		}
		delete(env, name)
	}
	if len(env) > 0 {
		t.Errorf("leaked into the environment: %v", env)
	}
	if r.Dir != dir || r.Umask != 0o022 || r.Args[1] != "--port=20001" || len(r.Inherited) > 0 {
		t.Errorf("dir %s, umask %o, args %q, open %v", r.Dir, r.Umask, r.Args, r.Inherited)
	}
}

func TestLaunch_RunsAsTheNamedUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	f := newFixture(t, "")
	// The app's user must reach its program and its home.
	dir, err := os.MkdirTemp("", "roost-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "app")
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	l := f.spec("")
	l.Spec.User, l.Spec.Command = "nobody", []string{program}
	l.Spec.Listen.Mode = app.ListenUnix
	r := f.report(l, filepath.Join(dir, "report"))
	if r.UID != 65534 || r.GID != 65534 || !slices.Equal(r.Groups, []int{65534}) {
		t.Errorf("uid %d, gid %d, groups %v", r.UID, r.GID, r.Groups)
	}
	home := filepath.Join(f.state, "apps", "web", "home")
	for _, want := range []string{"USER=nobody", "HOME=" + home, "SHELL=/usr/sbin/nologin", "ROOST_SOCKET=" + f.client.socketPath(l.ID)} {
		if !slices.Contains(r.Env, want) {
			t.Errorf("%s is not in %q", want, r.Env)
		}
	}
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Errorf("home: %v, %v", info, err)
	}
}

func TestLaunch_UnixFolderIsTheAppsAndTheProxys(t *testing.T) {
	f := newFixture(t, "")
	l := f.spec("sleep")
	l.Spec.Listen.Mode = app.ListenUnix
	p := f.launch(l)
	if want := "unix:" + f.client.socketPath(l.ID); p.Info().Address != want {
		t.Errorf("address %s, want %s", p.Info().Address, want)
	}
	info, err := os.Stat(f.client.runDir(l.ID))
	if err != nil || info.Mode().Perm() != 0o710 || info.Mode()&os.ModeSetgid == 0 {
		t.Errorf("folder: %v, %v, want 2710", info.Mode(), err)
	}
}

func TestLaunch_RunsAsRootIsACondition(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	f := newFixture(t, "")
	if p := f.launch(f.spec("exit:0")); p.Info().Conditions[app.CondRunsAsRoot] == "" {
		t.Error("nobody said that it runs as root")
	}
	l := f.spec("exit:0")
	l.Spec.User = "root"
	if p := f.launch(l); p.Info().Conditions[app.CondRunsAsRoot] != "" {
		t.Error("root was asked for")
	}
}

func TestLimits_MemoryEndsInOOM(t *testing.T) {
	f := newFixture(t, "")
	l := f.spec("memory")
	l.Spec.Limits.Memory = 64 << 20
	p := f.launch(l)
	if why := p.Info().Conditions[app.CondLimitUnavailable]; why != "" {
		t.Skip(why)
	}
	f.wait(p.Gone())
	if e := p.Exit(); !e.OOM || e.Signal != syscall.SIGKILL {
		t.Errorf("exit %+v, want killed for memory", e)
	}
}

// A child that the kernel kills for its memory leaves the leader running, and is not
// why that is killed later.
func TestLimits_MemoryOfAChildIsNotTheLeadersEnd(t *testing.T) {
	f := newFixture(t, "")
	l := f.spec("")
	l.Spec.Command = []string{"sh", "-c", "head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null; echo child ended; exec sleep 1000"}
	l.Spec.Limits.Memory = 32 << 20
	p := f.launch(l)
	if why := p.Info().Conditions[app.CondLimitUnavailable]; why != "" {
		t.Skip(why)
	}
	f.await(func() bool { return strings.Contains(f.output(p, "stdout"), "child ended") })
	if isClosed(p.Exited()) {
		t.Fatalf("it has ended, too: %+v", p.Exit())
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.wait(p.Gone())
	if e := p.Exit(); e.OOM || e.Signal != syscall.SIGKILL {
		t.Errorf("exit %+v, want killed, and not for memory", e)
	}
}

func TestLimits_PidsAndCPU(t *testing.T) {
	f := newFixture(t, tree.LaneScan) // so that the limits' own cgroups are all there are
	l := f.spec("")
	l.Spec.Command = []string{"sh", "-c", "cat /proc/self/cgroup; for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done"}
	l.Spec.Limits.Pids, l.Spec.Limits.CPUMillis = 5, 500
	p := f.launch(l)
	if why := p.Info().Conditions[app.CondLimitUnavailable]; why != "" {
		t.Skip(why)
	}
	f.wait(p.Gone())
	if e := p.Exit(); e.Code == 0 {
		t.Errorf("exit %+v, want a shell that may not fork", e)
	}
	if out := f.output(p, "stdout"); strings.Count(out, "/"+string(l.ID)) < 2 {
		t.Errorf("it is not in its cgroups:\n%s", out)
	}
}

func TestCheck_SaysWhatOnlyTheHostCan(t *testing.T) {
	f := newFixture(t, "")
	good := f.spec("").Spec
	if faults, warnings := f.client.Check(good); len(faults)+len(warnings) != 0 {
		t.Errorf("a good spec: %v, %v", faults, warnings)
	}
	for field, change := range map[string]func(*app.Spec){
		"command":            func(s *app.Spec) { s.Command = []string{"no-such-program"} },
		"user":               func(s *app.Spec) { s.User = "no-such-user" },
		"group":              func(s *app.Spec) { s.Group = "no-such-group" },
		"dir":                func(s *app.Spec) { s.Dir = "/no/such/folder" },
		"env_files":          func(s *app.Spec) { s.EnvFiles = []string{"/no/env"} },
		"env.A":              func(s *app.Spec) { s.Env = map[string]string{"A": "${NOPE}"} },
		"ready.exec.command": func(s *app.Spec) { s.Ready = app.Probe{Kind: app.ProbeExec, Command: []string{"no-such-program"}} },
	} {
		s := good
		change(&s)
		if faults, v := f.client.Check(s); len(faults) != 0 || len(v) != 1 || v[0].Field != field {
			t.Errorf("%s: %v, refused for %v", field, v, faults)
		}
	}
	both := good
	both.Command, both.User = []string{"no-such-program"}, "no-such-user"
	if _, v := f.client.Check(both); len(v) != 2 || v[0].Field != "user" || v[1].Field != "command" {
		t.Errorf("user and command: %v", v)
	}
	if _, err := os.Stat(filepath.Join(f.state, "apps")); err == nil {
		t.Error("a check made an app's home")
	}
}

func TestCheck_RefusesWhatNoStartCouldDoWith(t *testing.T) {
	f := newFixture(t, "")
	deep, err := NewClient(ClientConfig{StateDir: f.state, RunDir: "/" + strings.Repeat("d", 90), Env: map[string]string{"PATH": "/usr/bin:/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	defer deep.Close()
	secrets := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(secrets, []byte("KEY=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*app.Spec){
		"listen.mode": func(s *app.Spec) { s.Listen.Mode = app.ListenUnix },
		"command":     func(s *app.Spec) { s.EnvFiles = []string{secrets}; s.Command = []string{"/bin/echo", "${KEY}"} },
	} {
		s := f.spec("").Spec
		change(&s)
		if faults, warnings := deep.Check(s); len(faults) != 1 || faults[0].Field != field || len(warnings) != 0 {
			t.Errorf("%s: refused for %v, warned of %v", field, faults, warnings)
		}
	}
}

// A roost-exec of another version that takes the place of the keeper's is not its.
func TestLaunch_AReplacedRoostExecIsNotMet(t *testing.T) {
	f := &fixture{tb: t, keeper: newConfig(t, "")}
	f.state = f.keeper.StateDir
	binary, err := os.ReadFile(f.keeper.Exec)
	if err != nil {
		t.Fatal(err)
	}
	f.keeper.Exec = filepath.Join(t.TempDir(), "roost-exec")
	if err := os.WriteFile(f.keeper.Exec, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.shutdown)
	f.stop = f.connect()
	f.keeperPID()
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("#!/bin/false\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, f.keeper.Exec); err != nil {
		t.Fatal(err)
	}
	p := f.launch(f.spec("exit:7"))
	f.wait(p.Gone())
	if p.Exit().Code != 7 {
		t.Errorf("exit %+v, want code 7", p.Exit())
	}
}
