package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// manifest writes a manifest into the host's folder and returns its path. APP
// in it is the test app.
func (h *host) manifest(text string) string {
	h.Helper()
	path := filepath.Join(h.dir, "roost.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "APP", bin+"/testapp")), 0o644); err != nil {
		h.Fatal(err)
	}
	return path
}

const twoApps = `name: site
defaults: {recycle: {min_ready: 100ms}}
apps:
  web: {command: APP, routes: [{host: web.test}], env: {VERSION: "1"}}
  api: {command: APP, routes: [{host: api.test}]}
`

func TestCtl_ALifeOfAnApp(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	path := h.manifest(twoApps)

	if out := h.ctlOut("apply", "--dry-run"); !contains(out, "would be created") {
		t.Errorf("dry run: %s", out)
	}
	if out := h.ctlOut("ls", "-o", "name"); out != "" {
		t.Fatalf("a dry run created %s", out)
	}
	if out := h.ctlOut("apply", "--dry-run", "-o", "yaml"); !contains(out, "web.test") || !contains(out, bin) {
		t.Errorf("dry run as yaml: %s", out)
	}
	h.ctlOut("apply", path)
	if out := h.ctlOut("apply", "-f", path); strings.Count(out, "unchanged") != 2 {
		t.Errorf("apply again: %s", out)
	}
	if out := h.ctlOut("ls", "-o", "name"); out != "api\nweb\n" {
		t.Errorf("ls: %q", out)
	}
	if out := h.ctlOut("ps", "-o", "name"); out != "" {
		t.Errorf("ps before the first request: %q", out)
	}
	h.ctlOut("start", "web")
	id := h.live("web")[0].Id
	if out := h.ctlOut("ps", "web", "-o", "name"); out != id+"\n" {
		t.Errorf("ps: %q, want %s", out, id)
	}
	for args, want := range map[string][]string{
		"ls": {"web", "running", "api", "idle"}, "get web": {"web", "running", "web.test", id}, "ps": {id, "ready", itoa(h.pids("web")[0])},
		"history web": {"serving, desired"}, "events web": {"InstanceReady"}, "info": {h.dir + "/state", "admin"}, "version": {},
		"get web -o yaml": {"desired_generation: 1"}, "status web": {"running"}, "list": {"web"},
	} {
		out := h.ctlOut(strings.Fields(args)...)
		for _, w := range want {
			if !contains(strings.ToLower(out), strings.ToLower(w)) {
				t.Errorf("%s does not show %q: %s", args, w, out)
			}
		}
	}
	h.ctlOut("scale", "web", "3")
	if n := len(h.live("web")); n != 3 {
		t.Errorf("%d instances after scale 3", n)
	}
	h.ctlOut("restart", "web")
	for _, i := range h.live("web") {
		if i.Id == id {
			t.Errorf("instance %s outlived a recycle", id)
		}
	}
	h.manifest(strings.ReplaceAll(twoApps, `VERSION: "1"`, `VERSION: "2"`))
	if out := h.ctlOut("apply"); !contains(out, "env") {
		t.Errorf("apply does not name what changed: %s", out)
	}
	if got := h.get("web", "/").json(t)["version"]; got != "2" || len(h.live("web")) != 1 {
		t.Errorf("version %v, %d instances after the apply", got, len(h.live("web")))
	}
	h.ctlOut("rollback", "web")
	if got := h.get("web", "/").json(t)["version"]; got != "1" {
		t.Errorf("version %v after the rollback", got)
	}
	h.ctlOut("stop", "web")
	if left := h.inFolder(".."); len(left) > 0 {
		t.Errorf("left after stop: %v", left)
	}
	h.ctlOut("delete", "web")
	if out := h.ctlOut("ls", "-o", "name"); out != "api\n" {
		t.Errorf("ls after rm: %q", out)
	}
}

func TestCtl_JSONIsTheResponse(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.manifest(twoApps)
	h.ctlOut("apply")
	h.ctlOut("start", "web")
	var ls struct {
		Apps []struct {
			Name  string
			Etag  string
			State string
		}
	}
	var ps struct {
		Instances []struct {
			ID    string
			App   string
			Pid   int32
			Phase string
		}
	}
	for what, into := range map[string]any{"ls": &ls, "ps": &ps} {
		if err := json.Unmarshal([]byte(h.ctlOut(what, "-o", "json")), into); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if len(ls.Apps) != 2 || ls.Apps[1].Name != "web" || ls.Apps[1].Etag == "" || !contains(strings.ToLower(ls.Apps[1].State), "running") {
		t.Errorf("ls: %+v", ls)
	}
	if len(ps.Instances) != 1 || ps.Instances[0].App != "web" || ps.Instances[0].Pid != h.pids("web")[0] {
		t.Errorf("ps: %+v", ps)
	}
	for line := range strings.Lines(h.ctlOut("events", "-o", "json")) {
		var e struct{ ID, Cursor, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.ID == "" || e.Cursor == "" || e.Time == "" {
			t.Errorf("event %s: %v", line, err)
		}
	}
}

func TestCtl_SignalsReachTheApp(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Command = []string{"/bin/sh", "-c", "trap 'echo got usr1' USR1; " + spec.Command[0] + " & while :; do wait; done"}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	h.ctlOut("signal", "web", "SIGUSR1")
	h.eventually("the app got it", func() bool { return strings.Count(h.ctlOut("logs", "web"), "got usr1\n") == 1 })
	h.ctlOut("signal", "web", "USR1", "--instance", h.live("web")[0].Id)
	h.eventually("and again", func() bool { return strings.Count(h.ctlOut("logs", "web"), "got usr1\n") == 2 })
	if code, _, stderr := h.ctl("", "signal", "web", "SIGNONSENSE"); code != 2 || !contains(stderr, "SIGNONSENSE") {
		t.Errorf("an unknown signal: exit %d: %s", code, stderr)
	}
}

func TestCtl_PruneDeletesOnlyTheManifestsOwn(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("bystander"))
	h.manifest(twoApps)
	h.ctlOut("apply")
	h.ctlOut("start", "api")
	h.manifest("name: site\napps:\n  web: {command: APP, routes: [{host: web.test}], env: {VERSION: \"1\"}}\n")
	if code, _, stderr := h.ctl("", "apply", "--prune"); code != 2 || !contains(stderr, "api") || !contains(stderr, "--yes") {
		t.Errorf("without a terminal and --yes: exit %d: %s", code, stderr)
	}
	if out := h.ctlOut("ls", "-o", "name"); out != "api\nbystander\nweb\n" {
		t.Fatalf("something was deleted: %q", out)
	}
	h.ctlOut("apply", "--prune", "--yes")
	if out := h.ctlOut("ls", "-o", "name"); out != "bystander\nweb\n" {
		t.Errorf("ls: %q", out)
	}
	if left := h.inFolder(".."); len(left) > 0 {
		t.Errorf("processes of the deleted app: %v", left)
	}
	h.manifest("apps:\n  web: {command: APP}\n")
	if code, _, stderr := h.ctl("", "apply", "--prune", "--yes"); code != 2 || !contains(stderr, "name") {
		t.Errorf("a manifest without a name: exit %d: %s", code, stderr)
	}
}

func TestCtl_VerifyTriesWhatNobodyHasAskedFor(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.manifest(twoApps)
	h.ctlOut("apply", "--verify")
	for _, name := range []string{"web", "api"} {
		if h.count(name, "InstanceReady") != 1 {
			t.Errorf("%s was not tried", name)
		}
	}
	h.ctlOut("stop", "web") // so that nothing of it is live; the next apply starts from idle
	h.ctlOut("start", "web")
	h.manifest(strings.ReplaceAll(twoApps, "command: APP, routes: [{host: web.test}]", "command: APP -exit 9, routes: [{host: web.test}]"))
	code, _, stderr := h.ctl("", "apply", "--verify")
	if code != 1 || !contains(stderr, "web") || !contains(stderr, "9") || !contains(stderr, "cannot open the database") {
		t.Errorf("a version that does not start: exit %d: %s", code, stderr)
	}
	if !contains(stderr, "web: rolled back, generation 1 keeps serving: did not start: ") {
		t.Errorf("it does not say what keeps serving: %s", stderr)
	}
	if got := h.get("web", "/").wants(t, http.StatusOK).json(t)["version"]; got != "1" {
		t.Errorf("version %v serves", got)
	}
}

func TestCtl_WaitingHasALimit(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("slow", "-gate", filepath.Join(h.dir, "gate")))
	code, _, stderr := h.ctl("", "start", "slow", "--timeout", "5s") // the write itself must be done by then, on a busy machine too
	if code != 6 || !contains(stderr, "roostctl: slow: not done within 5s") {
		t.Errorf("--timeout: exit %d: %s", code, stderr)
	}
	h.ctlOut("recycle", "slow", "--no-wait")
	touch(t, filepath.Join(h.dir, "gate"))
	h.eventually("what nobody waits for goes on", func() bool { return h.app("slow").Ready == 1 })
}

func TestCtl_ShutdownEndsEverything(t *testing.T) {
	t.Parallel()
	h := newHost(t, "--detach-on-exit")
	h.apply(h.spec("web", "-tree", "1"))
	h.get("web", "/").wants(t, http.StatusOK)
	h.ctlOut("shutdown", "--detach")
	<-h.daemon.exited
	if h.daemon.err != nil || len(h.inFolder("web")) != 2 {
		t.Errorf("--detach: %v, processes %v", h.daemon.err, h.inFolder("web"))
	}
	h.get("web", "/").wants(t, http.StatusOK)
	h.startDaemon("--detach-on-exit")
	h.ctlOut("shutdown")
	<-h.daemon.exited
	if h.daemon.err != nil {
		t.Errorf("roostd: %v", h.daemon.err)
	}
	if left := h.processes(); len(left) != 1 || left[0] != h.proxy.pid() {
		t.Errorf("left: %v, want only the proxy %d", left, h.proxy.pid())
	}
	if _, err := os.Lstat(h.socket); err == nil {
		t.Error("the socket is left")
	}
	h.startDaemon()
	h.eventually("an app that was not stopped is served again", func() bool { return h.get("web", "/").status == http.StatusOK })
}

func TestCtl_ExitCodesOfConflictAndInterrupt(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.stop("web")
	if code, _, stderr := h.ctl("", "recycle", "web"); code != 5 || !contains(stderr, "roostctl start web") {
		t.Errorf("recycle of a stopped app: exit %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"rollback", "web"}, {"rollback", "web", "--to", "77"}, {"scale", "web", "0"}, {"scale", "web", "x"}} {
		if code, _, stderr := h.ctl("", args...); code == 0 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	f := h.follow("start", "web", "--timeout", "1h")
	if err := <-f.done; err != nil {
		t.Errorf("start: %v %s", err, f.output())
	}
	h.apply(h.spec("slow", "-never"))
	f = h.follow("start", "slow")
	h.eventually("it waits", func() bool { return len(h.inFolder("slow")) == 1 })
	if err := f.interrupt(); err == nil || !contains(f.output(), "interrupted") {
		t.Errorf("Ctrl-C while it waits: %v %s", err, f.output())
	}
	if len(h.inFolder("slow")) != 1 {
		t.Error("a client that left has cancelled what it asked for")
	}
	h.eventually("the daemon knows its process", func() bool { return len(h.pids("slow")) == 1 })
	_ = syscall.Kill(int(h.pids("slow")[0]), syscall.SIGKILL)
}
