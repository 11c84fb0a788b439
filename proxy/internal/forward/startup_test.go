package forward

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/backend"
)

// failing is a world whose app does not start.
func failing(t *testing.T, code string, change func(*backend.Policy)) *world {
	t.Helper()
	f := &activator.Failure{
		Code: code, Message: "web did not start: pid 4711 has its port", Detail: "Traceback: <script>\n", RetryAt: time.Now().Add(time.Minute),
	}
	return newWorld(t, nil, policy(change), config(func(c *Config) {
		c.Waiter = waiterFunc(func(context.Context, *backend.Pool, []string) error { return f })
	}))
}

const browser = "GET / HTTP/1.1\r\nHost: h\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\r\n"

func TestStartFailure_SaysWhatItUsuallyIsAndWhereTheReasonIs(t *testing.T) {
	for code, event := range map[string]string{
		"start-failed": "StartFailed", "start-timeout": "StartFailed", "rapid-fail": "AppBlocked",
	} {
		for _, development := range []bool{false, true} {
			w := failing(t, code, func(p *backend.Policy) { p.DetailedErrors = development })
			_, page := w.dial().send(browser).expect(502, code)
			for _, want := range append(startCauses, event, "roostctl events", "roostctl logs") {
				if !strings.Contains(page, want) {
					t.Errorf("%s: %q is not in %s", code, want, page)
				}
			}
			if strings.Contains(page, "ROOST_DETAILED_ERRORS") == development {
				t.Errorf("%s, in development %v, is told to show the details: %s", code, development, page)
			}
			if strings.Contains(page, "4711") != development || strings.Contains(page, "Traceback: &lt;script&gt;") != development || strings.Contains(page, "<script>") {
				t.Errorf("%s, in development %v: %s", code, development, page)
			}

			resp, body := w.dial().send(get("/")).expect(502, code)
			var p struct {
				Code, Event, Reason, Output string
				Causes, Steps               []string
			}
			if err := json.Unmarshal([]byte(body), &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%v: %s", err, body)
			}
			if p.Code != code || p.Event != event || len(p.Causes) != 3 || len(p.Steps) == 0 || (p.Output != "") != development || (p.Reason != "") != development {
				t.Errorf("%s, in development %v: %+v", code, development, p)
			}
		}
	}
}

// error_page.disable_startup leaves the page to the site's own front.
func TestStartFailure_IsBareWhereTheAppWantsItSo(t *testing.T) {
	for _, code := range []string{"start-failed", "start-timeout", "rapid-fail", "of-a-newer-daemon"} {
		w := failing(t, code, func(p *backend.Policy) { p.BareStartFailure, p.DetailedErrors = true, true })
		c := w.dial()
		for _, request := range []string{browser, get("/"), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"} {
			resp, body := c.send(request).expect(502, code)
			if body != "" || resp.ContentLength != 0 || resp.Header.Get("Content-Type") != "" || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %v %q", code, resp.Header, body)
			}
		}
		c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
		if resp, _ := c.response(http.MethodHead); resp.StatusCode != 502 || resp.ContentLength != 0 {
			t.Errorf("%s: HEAD: %v", code, resp)
		}
	}
}

func TestStartFailure_OtherAnswersKeepTheirPage(t *testing.T) {
	for code, status := range map[string]int{"stopped": 503, "queue-timeout": 504, "queue-full": 503, "backend-lost": 502} {
		w := failing(t, code, func(p *backend.Policy) { p.BareStartFailure = true })
		_, page := w.dial().send(browser).expect(status, code)
		if !strings.Contains(page, "<h1>") || strings.Contains(page, "Usual causes") {
			t.Errorf("%s: %s", code, page)
		}
	}
}

// As much output as the daemon sends comes whole.
func TestStartFailure_LongOutputInDevelopment(t *testing.T) {
	long := strings.Repeat("0123456789<&>\n", 2142)
	f := &activator.Failure{Code: "start-failed", Message: "exit 1", Detail: long}
	w := newWorld(t, nil, policy(func(p *backend.Policy) { p.DetailedErrors = true }), config(func(c *Config) {
		c.Waiter = waiterFunc(func(context.Context, *backend.Pool, []string) error { return f })
	}))
	c := w.dial()
	for range 2 {
		if _, page := c.send(browser).expect(502, "start-failed"); strings.Count(page, "0123456789&lt;&amp;&gt;\n") != 2142 {
			t.Errorf("%d lines of %d", strings.Count(page, "0123456789&lt;&amp;&gt;\n"), 2142)
		}
	}
}
