package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// copies are the files of one start's copy, in their order, and what they hold.
func copies(prefix string) (files []string, text string) {
	found, _ := filepath.Glob(prefix + "_*_*.log")
	if len(found) == 0 {
		return nil, ""
	}
	base := found[0] // the first of a start has the shortest name
	for _, path := range found {
		if len(path) < len(base) {
			base = path
		}
	}
	for n := 0; ; n++ {
		path := base
		if n > 0 {
			path = fmt.Sprintf("%s_%d.log", strings.TrimSuffix(base, ".log"), n)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return files, text
		}
		files, text = append(files, path), text+string(data)
	}
}

// What an app writes is in its files too, line by line, whatever becomes of the
// daemon meanwhile.
func TestStdoutFile_HoldsEveryLineOnceThoughTheDaemonDies(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("counter", "-count", "3000")
	spec.Routes, spec.Listen = nil, &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}
	spec.Logs = &roostv1.Logs{StdoutFile: "logs/${ROOST_APP}", MaxSize: 64 << 10, MaxFiles: new(int32(10_000))}
	h.apply(spec)
	prefix := filepath.Join(spec.Dir, "logs", "counter")
	for range 3 {
		from := h.stdoutSize("counter")
		h.daemon.end(syscall.SIGKILL)
		h.eventually("it goes on writing", func() bool { return h.stdoutSize("counter") > from+100_000 })
		h.startDaemon()
	}
	h.eventually("it is known again", func() bool { return len(h.pids("counter")) == 1 })
	h.stop("counter")
	want := h.ctlOut("logs", "counter")
	h.eventually("the copy is complete", func() bool { _, got := copies(prefix); return len(got) >= len(want) })
	files, got := copies(prefix)
	if got != want || len(files) < 5 {
		t.Errorf("%d files hold %d bytes, the app wrote %d", len(files), len(got), len(want))
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil || info.Size() > 64<<10 || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

func TestStdoutFile_OneAStartWithBothStreams(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Logs = &roostv1.Logs{StdoutFile: filepath.Join(spec.Dir, "out")}
	h.apply(spec)
	prefix := filepath.Join(spec.Dir, "out")
	holds := func(want ...string) bool {
		_, got := copies(prefix)
		for _, text := range want {
			if !strings.Contains(got, text) {
				return false
			}
		}
		return true
	}
	h.write("web", "stdout", []byte("to stdout\n"))
	h.write("web", "stderr", []byte("to stderr\n"))
	h.eventually("both streams are in the file", func() bool { return holds("to stdout\n", "to stderr\n") })
	first := h.live("web")[0].Pid
	h.rollout(h.recycle("web"))
	found, _ := filepath.Glob(prefix + "_*.log")
	if len(found) != 2 {
		t.Errorf("after a recycle there are %q, want two files", found)
	}
	if of, _ := filepath.Glob(fmt.Sprintf("%s_*_%d.log", prefix, first)); len(of) != 1 {
		t.Errorf("no file is named for pid %d: %q", first, found)
	}
}

// A path that cannot be written costs a warning, and nothing else.
func TestStdoutFile_UnwritableIsAnEventAndTheAppRuns(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Logs = &roostv1.Logs{StdoutFile: "file/in/the/way"}
	if err := os.WriteFile(filepath.Join(spec.Dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusOK)
	h.write("web", "stdout", []byte("not lost\n"))
	h.eventually("the output is there", func() bool { return strings.Contains(h.ctlOut("logs", "web"), "not lost\n") })
	h.eventually("there is an event", func() bool { return h.count("web", "StdoutFileFailed") == 1 })
	if out := h.ctlOut("events"); !strings.Contains(out, "StdoutFileFailed") || !strings.Contains(out, filepath.Join(spec.Dir, "file")) {
		t.Errorf("roostctl events does not say which file: %s", out)
	}
	// A daemon that dies between the event and its note of it leaves it to the next.
	h.eventually("it is noted that it was told", func() bool {
		records, _ := filepath.Glob(filepath.Join(h.dir, "state", "instances", "*", "record.json"))
		return slices.ContainsFunc(records, func(file string) bool {
			data, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(data), "roost.stdout_told")
		})
	})
	h.daemon.end(syscall.SIGKILL)
	h.startDaemon()
	h.eventually("it is known again", func() bool { return h.app("web").Ready == 1 })
	if n := h.count("web", "StdoutFileFailed"); n != 1 {
		t.Errorf("%d events after the daemon's restart, want one", n)
	}
}

// A failed start is answered with what to do, to its owner with the output, and
// bare where the site has a page of its own.
func TestStartFailure_Answers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	script := `i=0; while [ $i -lt 3000 ]; do echo "line $i: <ups>"; i=$((i+1)); done; echo "the token is $ROOST_TOKEN"; exit 3`
	failing := func(name string, change func(*roostv1.AppSpec)) *roostv1.AppSpec {
		s := h.spec(name)
		s.Command = []string{"/bin/sh", "-c", script}
		s.Restart = &roostv1.Restart{Backoff: durationpb.New(0)}
		change(s)
		return s
	}
	h.apply(
		failing("public", func(*roostv1.AppSpec) {}),
		failing("development", func(s *roostv1.AppSpec) { s.Env = map[string]string{"ROOST_DETAILED_ERRORS": "1"} }),
		failing("bare", func(s *roostv1.AppSpec) { s.ErrorPage = &roostv1.ErrorPage{DisableStartup: true} }),
	)
	browser := http.Header{"Accept": {"text/html"}}
	ask := func(name string) string {
		t.Helper()
		r := h.do(http.MethodGet, name, "/", browser).wants(t, http.StatusBadGateway)
		if got := r.header.Get("Roost-Error"); got != "start-failed" {
			t.Errorf("%s: Roost-Error %q", name, got)
		}
		return r.body
	}
	if page := ask("public"); !strings.Contains(page, "StartFailed") || strings.Contains(page, "ups") || strings.Contains(page, "code 3") {
		t.Errorf("the public page: %s", page)
	}
	page := ask("development")
	if !strings.Contains(page, "code 3") || !strings.Contains(page, "line 2999: &lt;ups&gt;") || !strings.Contains(page, "the token is ***") {
		t.Errorf("the page in development ends in %q", page[max(0, len(page)-2000):])
	}
	if n := strings.Count(page, "&lt;ups&gt;"); n < 1600 || n > 1800 { // 30,000 bytes of 17 each
		t.Errorf("the page in development has %d lines of the output", n)
	}
	if page := ask("bare"); page != "" {
		t.Errorf("the bare answer: %s", page)
	}
	for _, e := range h.seen("bare") {
		if e.Id != "StartFailed" {
			continue
		}
		out := e.Attributes["output"]
		if e.Attributes["step"] != "exit" || len(out) > 30_000 || len(out) < 29_000 || !strings.HasSuffix(out, "the token is ***\n") {
			t.Errorf("the event has step %q and %d bytes of output ending in %q", e.Attributes["step"], len(out), out[max(0, len(out)-40):])
		}
	}
	if h.count("bare", "StartFailed") != 1 {
		t.Errorf("events %v", h.seen("bare"))
	}
}
