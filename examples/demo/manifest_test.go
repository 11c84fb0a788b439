package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const text = `
name: examples
apps:
  here: {command: [sh, -c, x]}
  gone: {command: no-such-program --at all}
  built: {command: ../bin/examples/not-built-yet}
`

func readText(t *testing.T, text string) (*manifest, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roost.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readManifest(path)
}

func TestManifest_SkipsOnlyWhatTheMachineLacks(t *testing.T) {
	m, err := readText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	missing := m.skipMissing()
	if len(missing) != 1 || missing[0] != (skipped{app: "gone", program: "no-such-program"}) {
		t.Errorf("skipped %v, want gone for its no-such-program", missing)
	}
	if !m.changed || m.len() != 2 || m.has("gone") || !m.has("built") {
		t.Errorf("changed %v, %d apps left, want here and built", m.changed, m.len())
	}
	left, err := m.text()
	if err != nil || strings.Contains(left, "gone") || !strings.Contains(left, "name: examples") {
		t.Errorf("text %q, %v, want all but gone", left, err)
	}
}

func TestManifest_WithoutAppsIsAnError(t *testing.T) {
	for _, text := range []string{"", "name: x", "apps: 3", "- apps"} {
		if _, err := readText(t, text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestManifest_EveryRequestHasItsApp(t *testing.T) {
	m, err := readManifest("../roost.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if !m.has(r.app) {
			t.Errorf("the demo requests %s of %s, which roost.yaml lacks", r.path, r.app)
		}
	}
}

func TestLogTail_FindsTheFirstAddressInPieces(t *testing.T) {
	log := newLogTail()
	for _, piece := range []string{
		"not json\n{\"@message\":\"boo", "ted\"}\n", `{"@message":"listening","listener":"http",`, "\"address\":\"127.0.0.1:1\"}\n",
		"{\"@message\":\"listening\",\"address\":\"127.0.0.1:2\"}\n",
	} {
		if n, err := log.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if got := <-log.listening; got != "127.0.0.1:1" {
		t.Errorf("address %q, want the first", got)
	}
	if got := log.tail(); !strings.HasPrefix(got, "  not json\n") || strings.Count(got, "\n") != 3 {
		t.Errorf("tail %q, want the four lines, indented", got)
	}
}
