package keeper

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

func TestProcess_LifeOfAnApp(t *testing.T) {
	f := newFixture(t, "")
	p := f.launch(f.spec("write:hello\n"))
	f.wait(p.Gone())
	if e := p.Exit(); e.Failed() || e.Time.IsZero() {
		t.Errorf("exit %+v, want a clean one", e)
	}
	if out, err := f.output(p, "stdout"), f.output(p, "stderr"); out != "hello\n" || err != "HELLO\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	info := p.Info()
	if info.App != "web" || info.Generation != 3 || info.PID == 0 || info.Address != "127.0.0.1:20001" ||
		info.Token != "secret-token" || info.Notes["note"] != "kept" || len(info.Notes) != 1 {
		t.Errorf("info %+v", info)
	}
	if token, ok := f.client.Token(string(p.id)); token != "secret-token" || !ok {
		t.Errorf("token %q, %v", token, ok)
	}
	if stat, err := os.Stat(filepath.Join(instanceDir(f.state, string(p.id)), recordName)); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("record: %v, %v, want 0600", stat, err)
	}
	if err := p.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Errorf("a signal to an ended one: %v", err)
	}
	if err := p.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := f.output(p, "stdout"); out != "hello\n" {
		t.Errorf("its output went with the record: %q", out)
	}
}

func TestProcess_ExitCodeAndSignal(t *testing.T) {
	f := newFixture(t, "")
	p := f.launch(f.spec("exit:7"))
	f.wait(p.Exited())
	if e := p.Exit(); e.Code != 7 || e.Signal != 0 || e.Unknown {
		t.Errorf("exit %+v, want code 7", e)
	}
	p = f.launch(f.spec("sleep"))
	if err := p.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.wait(p.Exited())
	if e := p.Exit(); e.Signal != syscall.SIGTERM || e.OOM {
		t.Errorf("exit %+v, want SIGTERM", e)
	}
}

// Each lane must find and kill whatever an app forks.
func TestLanes_KillLeavesNothing(t *testing.T) {
	for _, lane := range []string{tree.LaneV2, tree.LaneFreezer, tree.LanePids, tree.LaneScan} {
		t.Run(lane, func(t *testing.T) {
			l, err := tree.Detect(t.TempDir(), lane)
			if err != nil {
				t.Skipf("this host has no such lane: %v", err)
			}
			l.Close()
			f := newFixture(t, lane)
			t.Run("kill", func(t *testing.T) { testKill(t, f) })
			t.Run("exit", func(t *testing.T) { testLeaderExits(t, f) })
		})
	}
}

func testKill(t *testing.T, f *fixture) {
	file := filepath.Join(t.TempDir(), "pids")
	other := f.launch(f.spec("stubborn"))
	p := f.launch(f.spec("escape:" + file))
	pids := append(f.pids(file), strconv.Itoa(p.Info().PID))
	members, err := p.Pids(t.Context())
	if err != nil || len(members) != len(pids) {
		t.Errorf("members %v, %v, want the %d processes %v", members, err, len(pids), pids)
	}
	for _, pid := range pids {
		n, _ := strconv.Atoi(pid)
		if !slices.Contains(members, n) {
			t.Errorf("pid %s is not among the members %v", pid, members)
		}
		if id, err := f.client.Owner(t.Context(), n); id != p.id || err != nil {
			t.Errorf("owner of pid %s is %q, want %q", pid, id, p.id)
		}
	}
	if id, err := f.client.Owner(t.Context(), os.Getpid()); id != "" || err != nil {
		t.Errorf("this test is owned by %q", id)
	}
	_, limited := p.Info().Conditions[app.CondBestEffortStop]
	if want := f.keeper.Lane == tree.LaneScan; limited != want {
		t.Errorf("condition BestEffortStop is %v, want %v", limited, want)
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if runs(pid) {
			t.Errorf("pid %s is left when Kill returned", pid)
		}
	}
	f.wait(p.Gone())
	if isClosed(other.Exited()) {
		t.Error("another instance was killed, too")
	}
}

// The leader's exit ends the instance, whatever it forked.
func testLeaderExits(t *testing.T, f *fixture) {
	file := filepath.Join(t.TempDir(), "pids")
	p := f.launch(f.spec("escape-exit:" + file))
	pids := f.pids(file)
	f.wait(p.Gone())
	if e := p.Exit(); e.Code != 0 || e.Signal != 0 {
		t.Errorf("exit %+v, want the leader's own", e)
	}
	for _, pid := range pids {
		if runs(pid) {
			t.Errorf("pid %s is left of an instance that is gone", pid)
		}
	}
}

func TestLaunch_PassesAListeningSocket(t *testing.T) {
	f := newFixture(t, "")
	l := f.spec("accept")
	l.Spec.Listen.Mode = app.ListenFD
	p := f.launch(l)
	conn, err := net.Dial("tcp", p.Info().Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 100)
	n, _ := conn.Read(buf)
	if got := string(buf[:n]); got != "true 1 http" {
		t.Errorf("the app says %q of LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES", got)
	}
	f.wait(p.Gone())
	if conn, err := net.Dial("tcp", p.Info().Address); err == nil {
		conn.Close()
		t.Error("the socket is still open when the app is gone")
	}
}

func TestLaunch_FailuresArePreciseAndLeaveNothing(t *testing.T) {
	f := newFixture(t, "")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter -x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change  func(*app.Launch)
		step    string
		message string
	}{
		"no program":       {func(l *app.Launch) { l.Spec.Command = []string{"no-such-program"} }, "command", "was not found on the app's PATH (/usr/bin:/bin)"},
		"no file":          {func(l *app.Launch) { l.Spec.Command = []string{"./nothing"} }, "command", "/nothing does not exist"},
		"a folder":         {func(l *app.Launch) { l.Spec.Command = []string{"/etc"} }, "command", "/etc is a directory"},
		"not executable":   {func(l *app.Launch) { l.Spec.Command = []string{"/etc/passwd"} }, "command", "is not executable"},
		"no interpreter":   {func(l *app.Launch) { l.Spec.Command = []string{script} }, "exec", "/no/such/interpreter, which does not exist"},
		"no folder":        {func(l *app.Launch) { l.Dir = "/no/such/folder" }, "dir", "/no/such/folder does not exist"},
		"no user":          {func(l *app.Launch) { l.Spec.User = "no-such-user" }, "user", `"no-such-user" does not exist`},
		"no group":         {func(l *app.Launch) { l.Spec.Group = "no-such-group" }, "user", `"no-such-group" does not exist`},
		"no env file":      {func(l *app.Launch) { l.Spec.EnvFiles = []string{"/no/env"} }, "env", "/no/env does not exist"},
		"unknown variable": {func(l *app.Launch) { l.Spec.Env["A"] = "${NOPE}" }, "env", "env.A: ${NOPE} is not set"},
		"token in command": {func(l *app.Launch) { l.Spec.Command = append(l.Spec.Command, "${ROOST_TOKEN}") }, "command", "is secret"},
		"a path too long": {func(l *app.Launch) {
			l.Spec.Listen.Mode = app.ListenUnix
			f.client.cfg.RunDir = "/" + strings.Repeat("x", 100)
		}, "listen", "the kernel allows 107"},
		"more files than 0": {func(l *app.Launch) { l.Spec.Limits.NoFile = 1 << 40 }, "limit", "limits.nofile"},
	} {
		l := f.spec("sleep")
		run := f.client.cfg.RunDir
		tt.change(&l)
		p, err := f.client.Launch(t.Context(), l)
		f.client.cfg.RunDir = run
		e, ok := errors.AsType[*app.StartError](err)
		if !ok || e.Step != tt.step || !strings.Contains(e.Message, tt.message) {
			t.Errorf("%s: error %#v, want step %s and %q", name, err, tt.step, tt.message)
		}
		if p != nil {
			t.Errorf("%s: a process all the same", name)
		}
		f.assertNothingLeft(l.ID)
		if _, err := os.Stat(filepath.Join(f.keeper.LogDir, "web", string(l.ID))); err == nil {
			t.Errorf("%s: logs are left of what never ran", name)
		}
	}
	if list, err := f.client.Recover(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("processes %v, %v, want none", list, err)
	}
}

func TestProcess_ExecRunsBesideIt(t *testing.T) {
	f := newFixture(t, "")
	l := f.spec("sleep")
	l.Spec.Env["COLOUR"] = "blue"
	p := f.launch(l)
	if err := p.Exec(t.Context(), []string{"sh", "-c", `test "$COLOUR$ROOST_INSTANCE" = "$0"`, "${COLOUR}" + string(p.id)}, time.Minute); err != nil {
		t.Errorf("Exec = %v", err)
	}
	for name, tt := range map[string]struct {
		argv []string
		want string
	}{
		"code":    {[]string{"sh", "-c", "echo why; exit 3"}, "exited with code 3: why"},
		"signal":  {[]string{"sh", "-c", "kill -9 $$$$"}, "killed"},
		"missing": {[]string{"no-such-program"}, "was not found"},
		"secret":  {[]string{"echo", "${ROOST_TOKEN}"}, "secret"},
	} {
		if err := p.Exec(t.Context(), tt.argv, time.Minute); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	before, _ := p.Pids(t.Context())
	err := p.Exec(t.Context(), []string{"sh", "-c", "setsid sleep 1000 & sleep 1000"}, 100*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "did not end within 100ms") {
		t.Errorf("a probe that hangs: %v", err)
	}
	if after, _ := p.Pids(t.Context()); len(after) != len(before) {
		t.Errorf("processes %v, %v before the probe that hung", after, before)
	}
	if isClosed(p.Exited()) {
		t.Error("a probe's timeout ended the app")
	}
}

func TestProcess_Notify(t *testing.T) {
	f := newFixture(t, "")
	l := f.spec("notify")
	l.Spec.Ready.Kind = app.ProbeNotify
	p := f.launch(l)
	f.wait(p.Notified())

	// What is not of the instance cannot say so for it.
	l = f.spec("sleep")
	l.Spec.Ready.Kind = app.ProbeNotify
	p = f.launch(l)
	conn, err := net.Dial("unixgram", filepath.Join(f.client.runDir(p.id), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("READY=1"))
	if err := p.Exec(t.Context(), []string{"true"}, time.Minute); err != nil { // a round trip later
		t.Fatal(err)
	}
	if isClosed(p.Notified()) {
		t.Error("a stranger's READY=1 counted")
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.wait(p.Gone())
	f.await(func() bool { _, err := os.Stat(f.client.runDir(p.id)); return os.IsNotExist(err) })
}

func TestLaunch_WhoseAnswerIsLostLeavesNothing(t *testing.T) {
	f := newFixture(t, "")
	if _, err := f.client.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := f.spec("sleep")
	prep, err := f.client.prepare(l)
	if err != nil {
		t.Fatal(err)
	}
	f.client.abandon(newProcess(f.client, l.ID))
	resp, err := f.client.rpc.Launch(t.Context(), prep.request) // it was on its way
	if err != nil || resp.GetRecord() == nil {
		t.Fatalf("%v, %v", resp, err)
	}
	f.await(func() bool {
		list, err := f.client.rpc.List(t.Context(), &keeperv1.ListRequest{})
		return err == nil && len(list.GetRecords()) == 0
	})
	if runs(strconv.Itoa(int(resp.GetRecord().GetPid()))) {
		t.Error("it runs")
	}
}
