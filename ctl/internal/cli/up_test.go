package cli

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func TestPortsFree_NamesThePortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	err = portsFree(context.Background(), []string{"127.0.0.1:0", l.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), "port "+port+" is in use") || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("%v", err)
	}
}

func TestUrlsOf(t *testing.T) {
	spec := &roostv1.AppSpec{Routes: []*roostv1.Route{{Path: "/a"}, {Host: "example.org"}}}
	for address, want := range map[string]string{
		"[::]:8080": "http://localhost:8080/a http://example.org:8080/", "0.0.0.0:80": "http://localhost/a http://example.org/",
		"192.0.2.7:81": "http://192.0.2.7:81/a http://example.org:81/", "nonsense": "",
	} {
		if got := strings.Join(urlsOf(spec, address), " "); got != want {
			t.Errorf("at %s: %q, want %q", address, got, want)
		}
	}
}

func TestConsole_PrintsWholeLines(t *testing.T) {
	var b strings.Builder
	p := &program{Env: Env{Stdout: &b}}
	c := p.newConsole([]*roostv1.AppSpec{{Name: "web"}, {Name: "a-worker"}})
	c.write("web", "web/1/out", []byte("one\r\ntwo"))
	c.write("a-worker", "a-worker/1/out", []byte("x\n"))
	c.write("web", "web/1/out", []byte(" ends\n"))
	c.write("web", "web/1/err", []byte("open"))
	c.say(render.Dim, "done %d", 1)
	c.flush()
	want := "web      | one\na-worker | x\nweb      | two ends\nroost    | done 1\nweb      | open\n"
	if b.String() != want {
		t.Errorf("got\n%s, want\n%s", b.String(), want)
	}
}

func TestConsole_EndsColoursWithTheirLine(t *testing.T) {
	var b strings.Builder
	c := &console{w: &b, paint: true, styles: map[string]render.Style{}, open: map[string][]byte{}}
	c.write("web", "web", []byte("\x1b[31mred\n"))
	if !strings.HasSuffix(b.String(), "\x1b[31mred\x1b[0m\n") {
		t.Errorf("%q", b.String())
	}
}

func TestMakeUpDirs_LeavesRoomForSockets(t *testing.T) {
	short, long := t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{short, long} {
		p := &program{Env: Env{Dir: dir}}
		d, err := p.makeUpDirs()
		if err != nil {
			t.Fatal(err)
		}
		if n := len(filepath.Dir(d.socket)); n > longestFolder {
			t.Errorf("the socket's folder has %d bytes: %s", n, d.socket)
		}
		if ignored, err := os.ReadFile(filepath.Join(dir, ".roost", ".gitignore")); err != nil || string(ignored) != "*\n" {
			t.Errorf(".gitignore: %q, %v", ignored, err)
		}
		d.close()
		if _, err := os.Stat(d.temporary); d.temporary != "" && !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", d.temporary, err)
		}
	}
}

func TestSinceTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"10m": now.Add(-10 * time.Minute), "2026-01-01T00:00:00Z": now.Add(-27*time.Hour - 4*time.Minute - 5*time.Second),
		"2026-01-02": now.Add(-3*time.Hour - 4*time.Minute - 5*time.Second), "2026-01-02 03:04:00": now.Add(-5 * time.Second),
	} {
		if got, err := timeFlag("since", text, now); err != nil || !got.AsTime().Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got.AsTime(), err, want)
		}
	}
	for _, text := range []string{"-1h", "yesterday", "2026-13-01"} {
		if got, err := timeFlag("since", text, now); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}
