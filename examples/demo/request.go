package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// requests are made to apps that do not run, in this order.
var requests = []struct{ app, path string }{
	{"hello-go", "/go/"},
	{"hello-node", "/node/"},
	{"hello-python", "/python/"},
}

// client goes straight to the proxy of this run, whatever the environment says of other proxies.
var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}

// request asks an app that does not run, and then again.
func (d *demo) request(ctx context.Context, r struct{ app, path string }) error {
	state, err := d.state(ctx, r.app)
	if err != nil {
		return err
	}
	if state != "idle" {
		return fmt.Errorf("%s is %s before its first request: it should be idle", r.app, state)
	}
	for _, what := range []string{"GET " + r.path + " (starts " + r.app + ")", "GET " + r.path + " again"} {
		took := stopwatch()
		line, err := d.get(ctx, r.path)
		if err != nil {
			events, _ := d.ctl(ctx, nil, "events") // the better half of the answer, if there is one
			return fmt.Errorf("%w\nroostctl events:\n%s", err, indent(events))
		}
		d.timed(what, took(), "%s", line)
	}
	return nil
}

// get returns the first line of the answer.
func (d *demo) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("GET %s: %w", path, err)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s, Roost-Error %q\n%s", path, res.Status, res.Header.Get("Roost-Error"), body)
	}
	line, _, _ := strings.Cut(string(body), "\n")
	return line, nil
}

// state returns an app's state in one lower-case word, as roostctl ls has it.
func (d *demo) state(ctx context.Context, app string) (string, error) {
	out, err := d.ctl(ctx, nil, "ls", "-o", "json")
	if err != nil {
		return "", err
	}
	var list struct {
		Apps []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return "", fmt.Errorf("roostctl ls -o json: %w", err)
	}
	for _, a := range list.Apps {
		if a.Name == app {
			return strings.ToLower(strings.TrimPrefix(a.State, "APP_STATE_")), nil
		}
	}
	return "", fmt.Errorf("roostctl ls does not list %s", app)
}
