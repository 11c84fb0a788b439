package e2e

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// run has an app run a command and returns what came of it.
func (h *host) run(name string, argv ...string) (code float64, stdout, stderr string) {
	h.Helper()
	answer := h.get(name, "/run?"+url.Values{"arg": argv}.Encode()).wants(h, http.StatusOK).json(h)
	return answer["code"].(float64), answer["stdout"].(string), answer["stderr"].(string)
}

// An app may run as root, and its processes still are no administrators.
func TestRoles_ProcessesOfAppsHaveNone(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	if os.Getuid() == 0 {
		spec.User = "root"
	}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	ctl := []string{bin + "/roostctl", "--daemon", "unix://" + h.socket, "stop", "web"}

	if code, _, stderr := h.run("web", ctl...); code != 4 || !contains(stderr, "instance") {
		t.Errorf("a child of the app: exit %v: %s", code, stderr)
	}
	out := filepath.Join(h.dir, "apps", "web", "out")
	for name, by := range map[string]string{
		"in a session of its own":        "setsid -w",
		"and without its environment":    "env -i setsid -w",
		"and in another process's group": "env -i setsid -w sh -c '\"$@\"; exit $?' sh",
	} {
		_ = os.Remove(out)
		// The shell's child is an orphan before it calls.
		script := `(` + by + ` "$@" >` + out + `.tmp 2>&1; echo "exit $?" >>` + out + `.tmp; mv ` + out + `.tmp ` + out + `) </dev/null >/dev/null 2>&1 &`
		h.run("web", append([]string{"/bin/sh", "-c", script, "sh"}, ctl...)...)
		h.eventually("the call is answered", func() bool { _, err := os.Stat(out); return err == nil })
		got, err := os.ReadFile(out)
		if err != nil || !strings.HasSuffix(string(got), "exit 4\n") {
			t.Errorf("%s: %v %s", name, err, got)
		}
	}
	if got := h.app("web").State; got != roostv1.AppState_APP_STATE_RUNNING {
		t.Errorf("the app is %v", got)
	}
}

func TestRoles_StrangersHaveNone(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	for _, args := range [][]string{{"ls"}, {"get", "web"}, {"logs", "web"}, {"events"}, {"stop", "web"}, {"rm", "web"}, {"shutdown"}, {"info"}} {
		argv := append([]string{bin + "/roostctl", "--daemon", "unix://" + h.socket}, args...)
		if code, out := asNobody(t, argv...); code != 4 || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: exit %d: %s", args, code, out)
		}
	}
	if st, err := os.Stat(h.socket); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("the socket: %v %v", st, err)
	}
	if code, out := asNobody(t, "ls", h.dir+"/state"); code == 0 {
		t.Errorf("a stranger reads the state folder: %s", out)
	}
}

// Members of the group roost are operators. The group is there only for the
// daemon: it sees another /etc/group than everybody else.
func TestRoles_Operators(t *testing.T) {
	t.Parallel()
	const gid = 54321
	h := newHostBy(t, withGroup(t, "roost", gid))
	spec := h.spec("web")
	spec.Env = map[string]string{"PASSWORD": "hunter2"}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)

	ctl := func(args ...string) (int, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin+"/roostctl", append([]string{"--daemon", "unix://" + h.socket}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{gid}}}
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for verb, want := range map[string]int{
		"ls": 0, "get web": 0, "logs web": 0, "ps": 0, "history web": 0, "events": 0, "scale web 2": 0, "recycle web": 0,
		"rm web": 4, "rollback web": 4, "shutdown": 4,
	} {
		if code, out := ctl(strings.Fields(verb)...); code != want {
			t.Errorf("%s: exit %d, want %d: %s", verb, code, want, out)
		}
	}
	for _, verb := range []string{"get web -o yaml", "get web -o json", "history web -o json", "ls -o json", "events -o json"} {
		_, out := ctl(strings.Fields(verb)...)
		if contains(out, "hunter2") {
			t.Errorf("%s shows an operator the value: %s", verb, out)
		}
		if strings.HasPrefix(verb, "get") && !contains(out, "PASSWORD") {
			t.Errorf("%s does not name the variable: %s", verb, out)
		}
	}
	if out := h.ctlOut("get", "web", "-o", "json"); !contains(out, "hunter2") {
		t.Error("an admin does not see the value")
	}
}

// withGroup is a command that becomes another in which a group exists.
func withGroup(t testing.TB, name string, gid int) []string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a mount namespace needs root")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "-m", "mount", "--bind", "/etc/passwd", "/etc/group").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace to be had: %v %s", err, out)
	}
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "group")
	groups = append([]byte(name+":x:"+itoa(int32(gid))+":\n"), groups...) // before one of this name
	if err := os.WriteFile(file, groups, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/group && exec "$@"`, file}
}

// What an operator was shown cannot come back as a spec that lost its secrets.
func TestRoles_RedactedSpecIsRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Env = map[string]string{"A": "1"}
	h.apply(spec)
	spec.Env, spec.RedactedEnv = nil, []string{"A"}
	_, err := h.apps.ApplyApps(t.Context(), &roostv1.ApplyAppsRequest{Specs: []*roostv1.AppSpec{spec}})
	if status.Code(err) != codes.InvalidArgument || !contains(err.Error(), "redacted") {
		t.Errorf("got %v", err)
	}
}
