package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// write has an app write bytes to a stream.
func (h *host) write(name, stream string, data []byte) {
	h.Helper()
	if err := h.tryWrite(name, stream, data); err != nil {
		h.Fatal(err)
	}
}

// tryWrite does so from any goroutine.
func (h *host) tryWrite(name, stream string, data []byte) error {
	req, err := http.NewRequestWithContext(h.Context(), http.MethodPost, "http://"+h.url+"/write?to="+stream, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Host = name + ".test"
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("write: %s", resp.Status)
	}
	return nil
}

// startedLine is the first that the test app writes.
func (h *host) startedLine(name string) string {
	return fmt.Sprintf("started %s release=\"\"\n", h.live(name)[0].Id)
}

func TestLogs_AreTheAppsBytes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	out, errs := make([]byte, 300_000), make([]byte, 1000)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(out)
	_, _ = random.Read(errs)
	for i := range 100_000 { // one line longer than any buffer
		out[100_000+i] = byte(i)%200 + 11
	}
	out[len(out)-1] = 'x' // and no end of the last one
	h.write("web", "stdout", out)
	h.write("web", "stderr", errs)
	want := h.startedLine("web") + string(out)
	h.eventually("stdout is what the app wrote", func() bool { return h.ctlOut("logs", "web", "--stream", "stdout") == want })
	h.eventually("stderr is what the app wrote", func() bool { return h.ctlOut("logs", "web", "--stream", "stderr") == string(errs) })
	h.stop("web")
	if got := h.ctlOut("logs", "web"); len(got) != len(want)+len(errs) {
		t.Errorf("of a stopped app %d bytes are left of %d", len(got), len(want)+len(errs))
	}
}

func TestLogs_TailSinceStreamAndCursor(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.write("web", "stdout", []byte("one\ntwo\n"))
	all := h.startedLine("web") + "one\ntwo\n"
	h.eventually("stdout is there", func() bool { return h.ctlOut("logs", "web") == all })
	h.write("web", "stderr", []byte("three\n"))
	all += "three\n"
	h.eventually("all is there, in order", func() bool { return h.ctlOut("logs", "web") == all })
	for args, want := range map[string]string{
		"--tail 2": "two\nthree\n", "-n 1": "three\n", "-n 1 --stream stdout": "two\n", "--since 1h": all, "--stream stderr": "three\n",
		"--instance " + h.live("web")[0].Id: all,
	} {
		if got := h.ctlOut(append([]string{"logs", "web"}, strings.Fields(args)...)...); got != want {
			t.Errorf("logs %s printed %q, want %q", args, got, want)
		}
	}
	// A moment between two lines: only what comes after it.
	type entry struct {
		Cursor string    `json:"cursor"`
		Time   time.Time `json:"time"`
	}
	var last entry
	for line := range strings.Lines(h.ctlOut("logs", "web", "-o", "json")) {
		if err := json.Unmarshal([]byte(line), &last); err != nil || last.Cursor == "" {
			t.Fatalf("%v: %s", err, line)
		}
	}
	since := last.Time.Add(time.Nanosecond).Format(time.RFC3339Nano)
	h.write("web", "stdout", []byte("four\n"))
	h.eventually("the fourth is there", func() bool { return h.ctlOut("logs", "web") == all+"four\n" })
	if got := h.ctlOut("logs", "web", "--since", since); got != "four\n" {
		t.Errorf("--since %s printed %q", since, got)
	}
	if got := h.ctlOut("logs", "web", "--cursor", last.Cursor); got != "four\n" {
		t.Errorf("--cursor printed %q", got)
	}
	// The cursor outlives the daemon and the instance.
	h.daemon.end(syscall.SIGKILL)
	h.startDaemon()
	h.rollout(h.recycle("web"))
	if got, want := h.ctlOut("logs", "web", "--cursor", last.Cursor), "four\n"+h.startedLine("web"); got != want {
		t.Errorf("--cursor printed %q after a restart and a recycle, want %q", got, want)
	}
}

// follower is a roostctl that goes on.
type follower struct {
	cmd  *exec.Cmd
	done chan error

	mu  sync.Mutex
	out bytes.Buffer
}

func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Write(p)
}

func (f *follower) output() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.String()
}

// follow starts a roostctl that does not end by itself.
func (h *host) follow(args ...string) *follower {
	h.Helper()
	f := &follower{done: make(chan error, 1)}
	f.cmd = exec.Command(bin+"/roostctl", append([]string{"--daemon", "unix://" + h.socket}, args...)...)
	f.cmd.Stdout, f.cmd.Stderr = f, f
	if err := f.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	go func() { f.done <- f.cmd.Wait() }()
	h.Cleanup(func() { _ = f.cmd.Process.Kill() })
	return f
}

// interrupt is Ctrl-C; it returns how the program ended.
func (f *follower) interrupt() error {
	_ = f.cmd.Process.Signal(syscall.SIGINT)
	return <-f.done
}

func TestLogs_FollowGoesOnAcrossARecycle(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(t, http.StatusOK)
	want := h.startedLine("web")
	logs, events := h.follow("logs", "-f", "web"), h.follow("events", "-f", "web")
	h.eventually("the history is shown", func() bool { return logs.output() == want })
	for i := range 2 {
		h.write("web", "stdout", fmt.Appendf(nil, "before %d\n", i))
		h.rollout(h.recycle("web"))
		h.write("web", "stderr", fmt.Appendf(nil, "after %d\n", i))
		want += fmt.Sprintf("before %d\n", i) + h.startedLine("web") + fmt.Sprintf("after %d\n", i)
		h.eventually("what follows is shown", func() bool { return logs.output() == want })
	}
	h.write("web", "stdout", []byte("last words, no end"))
	h.stop("web")
	h.eventually("the last words are shown", func() bool { return strings.TrimSuffix(logs.output(), "\n") == want+"last words, no end" })
	h.eventually("the events are followed too", func() bool { return strings.Count(events.output(), "AppRecycled") == 2 })
	for _, f := range []*follower{logs, events} {
		if err := f.interrupt(); err != nil {
			t.Errorf("at Ctrl-C: %v\n%s", err, f.output())
		}
	}
}

// Who follows waits for a daemon that has died, misses and repeats nothing, and is
// told when the app is removed.
func TestLogs_FollowGoesOnWhenTheDaemonDies(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	h.get("web", "/").wants(t, http.StatusOK)
	want := h.startedLine("web")
	logs, events := h.follow("logs", "-f", "web", "--tail", "1"), h.follow("events", "-f", "--tail", "1")
	h.eventually("the history is shown", func() bool { return logs.output() == want && events.output() != "" })
	const gone = "roostctl: the daemon has gone: going on when it is back\n"
	for i := range 2 {
		h.daemon.end(syscall.SIGKILL)
		h.eventually("the loss is told", func() bool { return strings.HasSuffix(logs.output(), gone) && strings.HasSuffix(events.output(), gone) })
		h.write("web", "stdout", fmt.Appendf(nil, "while it is dead %d\n", i))
		h.startDaemon()
		h.eventually("what was written meanwhile is shown", func() bool { return strings.HasSuffix(logs.output(), fmt.Sprintf("dead %d\n", i)) })
		want += gone + fmt.Sprintf("while it is dead %d\n", i)
	}
	h.write("web", "stdout", []byte("last words"))
	if code, _, stderr := h.ctl("", "rm", "web"); code != 0 {
		t.Fatal(stderr)
	}
	select {
	case <-logs.done:
	case <-time.After(patience):
		t.Fatalf("it goes on: %q", logs.output())
	}
	want += "last words" + "roostctl: app web was removed: nothing more will come of it\n"
	if got := logs.output(); got != want || logs.cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("it ended with %d, got\n%q\nwant\n%q", logs.cmd.ProcessState.ExitCode(), got, want)
	}
	h.eventually("events are followed too", func() bool { return contains(events.output(), "AppDeleted") })
	if got := events.output(); strings.Count(got, "DaemonStarted") != 2 || strings.Count(got, "app removed") != 1 {
		t.Errorf("the events are\n%s", got)
	}
	if err := events.interrupt(); err != nil {
		t.Error(err)
	}
}

func TestLogs_TheTokenIsNeverShown(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(h.spec("web"))
	var env []string
	if err := json.Unmarshal([]byte(h.get("web", "/env").body), &env); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(env, func(v string) bool { return strings.HasPrefix(v, "ROOST_TOKEN=") })
	token := strings.TrimPrefix(env[i], "ROOST_TOKEN=")
	h.write("web", "stdout", []byte("refused "+token+", sorry\n"))
	for _, piece := range []string{"in two: " + token[:7], token[7:] + "!\n"} {
		h.write("web", "stdout", []byte(piece))
	}
	want := h.startedLine("web") + "refused ***, sorry\nin two: ***!\n"
	h.eventually("it is hidden", func() bool { return h.ctlOut("logs", "web") == want })
	if got := h.ctlOut("logs", "web", "-o", "json"); contains(got, token) || contains(got, token[7:]) {
		t.Errorf("-o json shows it: %s", got)
	}
	h.get("web", "/exit") // the app's last output is in events and in the instance
	h.eventually("its exit is known", func() bool { return h.count("web", "InstanceExited") > 0 })
	for _, args := range [][]string{{"events", "-o", "json"}, {"ps", "-a", "-o", "json"}, {"get", "web", "-o", "json"}} {
		if got := h.ctlOut(args...); contains(got, token) {
			t.Errorf("%v shows it: %s", args, got)
		}
	}
}

func TestLogs_TheTokenIsNotInAFailedStartsOutput(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Env = map[string]string{"ROOST_DETAILED_ERRORS": "1"}
	spec.Command = []string{"/bin/sh", "-c", "echo $$ROOST_TOKEN >token; echo it is $$ROOST_TOKEN; exit 3"}
	h.apply(spec)
	page := h.get("web", "/").wants(t, http.StatusBadGateway)
	if why := "it exited with code 3 before it was ready"; !contains(page.body, why) {
		t.Errorf("the page does not say %q: %s", why, page.body)
	}
	b, err := os.ReadFile(spec.Dir + "/token")
	if err != nil {
		t.Fatalf("%v: %v", err, page)
	}
	_, _, stderr := h.ctl("", "start", "web")
	shown := map[string]string{
		"the page": page.body, "roostctl start": stderr, "events": h.ctlOut("events", "-o", "json"),
		"ps": h.ctlOut("ps", "-a", "-o", "json"), "get": h.ctlOut("get", "web", "-o", "json"), "logs": h.ctlOut("logs", "web"),
	}
	for what, text := range shown {
		if contains(text, strings.TrimSpace(string(b))) {
			t.Errorf("%s shows it: %s", what, text)
		}
	}
	for _, what := range []string{"the page", "roostctl start", "events", "ps", "logs"} {
		if !contains(shown[what], "it is ***") {
			t.Errorf("%s does not show the output: %s", what, shown[what])
		}
	}
}

// stdoutSize is how much an app's instances have written that has been on disk,
// though the oldest segments may be gone.
func (h *host) stdoutSize(name string) int64 {
	h.Helper()
	segments, err := filepath.Glob(filepath.Join(h.dir, "state", "logs", name, "*", "stdout.*"))
	if err != nil {
		h.Fatal(err)
	}
	ends := map[string]int64{} // by instance
	for _, path := range segments {
		first, err := strconv.ParseInt(strings.TrimPrefix(filepath.Base(path), "stdout."), 10, 64)
		if err != nil {
			continue // an index
		}
		st, err := os.Stat(path)
		if err != nil {
			continue // deleted meanwhile
		}
		dir := filepath.Dir(path)
		ends[dir] = max(ends[dir], first+st.Size())
	}
	var size int64
	for _, end := range ends {
		size += end
	}
	return size
}
