package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary do one thing of the daemon's and wait.
const helperEnv = "ROOSTD_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		_, err := lockStateDir(dir)
		fmt.Fprintln(os.Stdout, err)
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "keeper" { // run started it, as it starts itself
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestLockStateDir_NamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 64)
	n, err := stdout.Read(said)
	if err != nil || strings.TrimSpace(string(said[:n])) != "<nil>" {
		t.Fatalf("the first one: %q, %v", said[:n], err)
	}
	pid := fmt.Sprintf("pid %d", cmd.Process.Pid)
	if _, err := lockStateDir(dir); err == nil || !strings.Contains(err.Error(), pid) {
		t.Errorf("got %v, want one that names %s", err, pid)
	}
	if err := errors.Join(cmd.Process.Kill(), stdin.Close()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	f, err := lockStateDir(dir)
	if err != nil {
		t.Fatalf("after it was killed: %v", err)
	}
	_ = f.Close()
}

func TestListenUnix_ModesAndStaleSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for uid, mode := range map[int]os.FileMode{0: 0o666, os.Getuid() + 1: 0o600} {
		l, err := listenUnix(path, uid, -1)
		if err != nil {
			if os.Getuid() != 0 {
				continue // only root may give it to another
			}
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("uid %d: mode %v, %v, want %v", uid, info.Mode().Perm(), err, mode)
		}
		if _, err := listenUnix(path, uid, -1); err == nil || !strings.Contains(err.Error(), "served by another") {
			t.Errorf("a second one: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("the socket is left behind")
		}
	}
}

func TestListenUnix_RemovesWhatAKilledDaemonLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	l, err := listenUnix(path, os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestListenUnix_Refusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ path, want string }{
		"a file":      {file, "something else"},
		"a long path": {filepath.Join(dir, strings.Repeat("x", 120)), "107"},
		"no folder":   {filepath.Join(dir, "none", "s"), "no such file"},
	} {
		if _, err := listenUnix(tt.path, os.Getuid(), os.Getgid()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("the file is gone")
	}
}

func TestMakeStateDir_Modes(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	empty, used := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "used")
	if err := errors.Join(
		os.Mkdir(empty, 0o755), os.Mkdir(used, 0o700), os.Chmod(used, 0o755), os.Mkdir(filepath.Join(used, "x"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]os.FileMode{
		filepath.Join(t.TempDir(), "new", "er"): folderMode(os.Getuid()),
		empty:                                   folderMode(os.Getuid()),
		used:                                    0o755,
	} {
		for range 2 {
			if err := makeStateDir(dir, os.Getuid()); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", dir, info.Mode().Perm(), err, want)
		}
	}
	if folderMode(0) != 0o711 || folderMode(1000) != 0o700 {
		t.Errorf("modes %o for root and %o for others", folderMode(0), folderMode(1000))
	}
}

func TestMakeLogDir_IsForTheOperators(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("giving a folder to a group needs root")
	}
	dir := filepath.Join(t.TempDir(), "logs")
	if err := makeLogDir(dir, 12345); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o750 || info.Sys().(*syscall.Stat_t).Gid != 12345 {
		t.Errorf("mode %v, %+v, %v", info.Mode(), info.Sys(), err)
	}
}

func TestMakeStateDir_Refusals(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	file := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(
		os.Mkdir(open, 0o700), os.Mkdir(filepath.Join(open, "x"), 0o700), os.Chmod(open, 0o777), os.WriteFile(file, nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{open: "chmod", file: "not a folder"} {
		if err := makeStateDir(dir, os.Getuid()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	if err := makeStateDir(t.TempDir(), os.Getuid()+1); err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("another's folder: %v", err)
	}
}

func TestMakeSocketDir_Refusals(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Mkdir(filepath.Join(open, "x"), 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	if err := makeSocketDir(open, os.Getuid()); err == nil || !strings.Contains(err.Error(), "everybody") {
		t.Errorf("a folder that everybody can change: %v", err)
	}
	if err := os.Chmod(open, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := makeSocketDir(open, os.Getuid()); err != nil {
		t.Errorf("one like /tmp: %v", err)
	}
}

func TestParsePorts(t *testing.T) {
	if low, high, err := parsePorts("20000-29999"); low != 20000 || high != 29999 || err != nil {
		t.Errorf("got %d to %d, %v", low, high, err)
	}
	for _, s := range []string{"", "20000", "a-b", "2-1", "0-5", "1-70000", "1-2-3"} {
		if _, _, err := parsePorts(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestDefaultLogDir(t *testing.T) {
	for want, is := range map[string]string{
		"/var/log/roost":      defaultLogDir("/var/lib/roost", 0),
		"/x/logs":             defaultLogDir("/x", 0),
		"/var/lib/roost/logs": defaultLogDir("/var/lib/roost", 1000),
	} {
		if is != want {
			t.Errorf("got %s, want %s", is, want)
		}
	}
}

// execute runs the command line up to where a daemon would start, and returns why
// it did not.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	err := c.Execute()
	return out.String(), err
}

func TestCommand_Usage(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"an argument":         {[]string{"x"}, "unknown command"},
		"an unknown flag":     {[]string{"--x"}, "unknown flag"},
		"a bad range":         {[]string{"--port-range", "9"}, "--port-range"},
		"a bad level":         {[]string{"--log-level", "loud"}, "--log-level"},
		"a bad format":        {[]string{"--log-format", "xml"}, "--log-format"},
		"no socket":           {[]string{"--socket", ""}, "--socket"},
		"no state dir":        {[]string{"--state-dir", ""}, "--state-dir"},
		"no starts":           {[]string{"--start-parallelism", "0"}, "--start-parallelism"},
		"a long socket":       {[]string{"--socket", "/" + strings.Repeat("x", 120)}, "107"},
		"keeper, an argument": {[]string{"keeper", "x"}, "unknown command"},
	} {
		if _, err := execute(t, tt.args...); err == nil || errors.Is(err, errFailed) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want a usage error with %q", name, err, tt.want)
		}
	}
}

func TestCommand_TheEnvironmentNamesFlagsAndTheFlagWins(t *testing.T) {
	t.Setenv("ROOSTD_PORT_RANGE", "environment")
	if _, err := execute(t, "--log-level", "info"); err == nil || !strings.Contains(err.Error(), "environment") {
		t.Errorf("got %v", err)
	}
	if _, err := execute(t, "--port-range", "flag"); err == nil || !strings.Contains(err.Error(), `"flag"`) {
		t.Errorf("got %v", err)
	}
	// What is no setting of the daemon: the version that an image or a unit notes down.
	t.Setenv("ROOSTD_VERSION", "1.2")
	t.Setenv("ROOSTD_HELP", "see the wiki")
	t.Setenv("ROOSTD_SOCKET", "") // as an empty line of a unit's environment has it: not set
	if _, err := execute(t, "--port-range", "flag"); err == nil || strings.Contains(err.Error(), "ROOSTD_") {
		t.Errorf("got %v", err)
	}
	t.Setenv("ROOSTD_START_PARALLELISM", "many")
	if _, err := execute(t, "--port-range", "1-2"); err == nil || !strings.Contains(err.Error(), "ROOSTD_START_PARALLELISM") {
		t.Errorf("got %v", err)
	}
}

func TestCommand_VersionAndHelp(t *testing.T) {
	if out, err := execute(t, "version"); err != nil || strings.TrimSpace(out) == "" {
		t.Errorf("version: %q, %v", out, err)
	}
	out, err := execute(t, "--help")
	for _, flag := range []string{
		"--socket", "--state-dir", "--log-dir", "--port-range", "--app-user", "--proxy-group", "--detach-on-exit",
		"--start-parallelism", "--log-level", "--log-format", "ROOSTD_",
	} {
		if err != nil || !strings.Contains(out, flag) {
			t.Errorf("help does not tell of %s (%v)", flag, err)
		}
	}
}
