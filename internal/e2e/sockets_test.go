package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// asNobody runs a command as a user that owns nothing.
func asNobody(t testing.TB, argv ...string) (code int, output string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestUnix_OnlyTheProxyCanConnect(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Umask = "077" // what the app makes of its socket's mode does not matter
	spec.Listen = &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_UNIX}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	i := h.live("web")[0]
	path, ok := strings.CutPrefix(i.Address, "unix://")
	if !ok {
		path = strings.TrimPrefix(i.Address, "unix:")
	}
	if want := h.dir + "/run/i/" + i.Id + "/s"; path != want {
		t.Errorf("address %s, want %s", i.Address, want)
	}
	for file, want := range map[string]os.FileMode{
		path: os.ModeSocket | 0o660, strings.TrimSuffix(path, "/s"): os.ModeDir | os.ModeSetgid | 0o710,
	} {
		if st, err := os.Stat(file); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, want %v (%v)", file, st.Mode(), want, err)
		}
	}
	if code, out := asNobody(t, bin+"/testapp", "-dial", path); code == 0 || !contains(out, "permission denied") {
		t.Errorf("a stranger's connect: exit %d: %s", code, out)
	}
	c, err := net.Dial("unix", path) // root may, so it is there
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	h.stop("web")
	if _, err := os.Lstat(strings.TrimSuffix(path, "/s")); err == nil {
		t.Error("its folder is left")
	}
}

// An app of a user of its own: its socket is in a folder that is its user's.
func TestUnix_AppsOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	h := newHost(t)
	spec := h.spec("web")
	spec.User = "nobody"
	spec.Listen = &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_UNIX}
	h.apply(spec)
	if who := h.get("web", "/whoami").wants(t, http.StatusOK).json(t); who["uid"] != 65534.0 {
		t.Errorf("%v", who)
	}
}

func TestFD_TheAppGetsItsSocketAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Listen = &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_FD}
	plain := h.spec("plain")
	for _, s := range []*roostv1.AppSpec{spec, plain} {
		// A shell tells, as a Go program opens files of its own before main.
		list := "for n in 0 1 2 3 4 5 6 7 8 9; do [ -L /proc/$$$$/fd/$$n ] && echo given $$n; done; exec "
		s.Command = []string{"/bin/sh", "-c", list + s.Command[0]}
	}
	h.apply(spec, plain)
	who := h.get("web", "/whoami").wants(t, http.StatusOK).json(t)
	h.get("plain", "/").wants(t, http.StatusOK)
	for name, want := range map[string]string{"web": "0123", "plain": "012"} {
		var got strings.Builder
		for line := range strings.Lines(h.ctlOut("logs", name)) {
			if fd, ok := strings.CutPrefix(line, "given "); ok {
				got.WriteString(strings.TrimSpace(fd))
			}
		}
		if got.String() != want {
			t.Errorf("%s was given the descriptors %s, want %s", name, got.String(), want)
		}
	}
	var env []string
	if err := json.Unmarshal([]byte(h.get("web", "/env").body), &env); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("LISTEN_PID=%v", who["pid"]), "LISTEN_FDS=1"} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %v", want, env)
		}
	}
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "LISTEN_FDNAMES=") && v != "LISTEN_FDNAMES=" }) {
		t.Errorf("no LISTEN_FDNAMES in %v", env)
	}
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PORT=") }) {
		t.Errorf("PORT in %v", env)
	}
	// Nobody else holds the socket: it is gone with the app.
	address := h.live("web")[0].Address
	h.stop("web")
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		t.Errorf("%s is still listening", address)
	}
}
