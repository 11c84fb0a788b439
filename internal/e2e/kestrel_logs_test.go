package e2e

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// The file that the module's stdoutLogFile asks for, of a real app: both streams,
// the token as the app prints it, and one file a start.
func TestKestrel_StdoutFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.kestrel("web")
	spec.Logs = &roostv1.Logs{StdoutFile: "./logs/stdout"}
	h.apply(spec)
	h.see("web", "/", nil)
	h.get("web", "/stdout?lines=700").wants(t, http.StatusOK)
	h.get("web", "/stderr?lines=300").wants(t, http.StatusOK)
	resp, err := http.Get("http://" + h.live("web")[0].Address + "/") // past the proxy: it prints the token that it misses
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without a token: %s", resp.Status)
	}
	token := h.see("web", "/", nil).Headers["MS-ASPNETCORE-TOKEN"]
	if len(token) != 1 {
		t.Fatalf("tokens %q", token)
	}
	h.stop("web")
	prefix := filepath.Join(spec.Dir, "logs", "stdout")
	want := sortedLines(h.ctlOut("logs", "web"))
	h.eventually("the copy is complete", func() bool {
		_, got := copies(prefix)
		return len(sortedLines(got)) >= len(want)
	})
	files, got := copies(prefix)
	if len(files) != 1 || !slices.Equal(sortedLines(strings.ReplaceAll(got, token[0], "***")), want) {
		t.Errorf("%q hold %d lines, the app wrote %d", files, len(sortedLines(got)), len(want))
	}
	if !strings.Contains(got, token[0]) || strings.Count(got, "line ") < 1000 {
		t.Errorf("it is not what the app wrote: %s", got)
	}
	if _, err := h.apps.StartApp(t.Context(), &roostv1.StartAppRequest{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	h.see("web", "/", nil)
	h.eventually("the next start has a file of its own", func() bool {
		found, _ := filepath.Glob(prefix + "_*.log")
		return len(found) == 2
	})
}

func sortedLines(text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	slices.Sort(lines)
	return lines
}

// What a real app printed before it failed to start is in the event, at most 30,000
// characters of it, and on the page of an app in development.
func TestKestrel_StartFailureCarriesItsOutput(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	apps := map[string]string{"short": "Wow, that did not work", "long": strings.Repeat("a line of the long story\n", 2000)}
	for name, text := range apps {
		h.apply(withEnv(h.kestrel(name), map[string]string{
			"PROBE_START_OUTPUT": text, "PROBE_START_EXIT": "5", "ASPNETCORE_ENVIRONMENT": "Development",
		}))
	}
	for name, text := range apps {
		r := h.do(http.MethodGet, name, "/", http.Header{"Accept": {"text/html"}}).wants(t, http.StatusBadGateway)
		last := text[max(0, len(text)-100):]
		if got := r.body; r.header.Get("Roost-Error") != "start-failed" || !strings.Contains(got, last) || !strings.Contains(got, "code 5") {
			t.Errorf("%s: the page ends in %q", name, got[max(0, len(got)-300):])
		}
		found := false
		for _, e := range h.seen(name) {
			if out := e.Attributes["output"]; e.Id == "StartFailed" {
				found = true
				if e.Attributes["step"] != "exit" || !strings.Contains(out, last) || len(out) > 30_000 || len(out) < min(len(text), 29_900) {
					t.Errorf("%s: step %q, %d bytes of output", name, e.Attributes["step"], len(out))
				}
			}
		}
		if !found {
			t.Errorf("%s: no event StartFailed", name)
		}
	}
}
