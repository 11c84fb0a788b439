package rpc

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSockets_Listen(t *testing.T) {
	for _, tt := range []struct {
		in   Sockets
		want string
	}{
		{Sockets{UID: 0}, "/run/roost/roostd.sock"},
		{Sockets{UID: 0, RuntimeDir: "/run/user/0"}, "/run/roost/roostd.sock"},
		{Sockets{UID: 1000, RuntimeDir: "/run/user/1000"}, "/run/user/1000/roost/roostd.sock"},
		{Sockets{UID: 1000}, "/tmp/roost-1000/roostd.sock"},
	} {
		if got := tt.in.Listen(); got != tt.want {
			t.Errorf("%+v.Listen() = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestSockets_DialPrefersTheUsersOwn(t *testing.T) {
	s := Sockets{UID: os.Getuid(), RuntimeDir: t.TempDir()}
	listen(t, s.inRuntimeDir())
	if got := s.Dial(); got != s.inRuntimeDir() {
		t.Errorf("Dial() = %q, want %q", got, s.inRuntimeDir())
	}
}

func TestSockets_DialWithoutAnyNamesTheUsersOwn(t *testing.T) {
	s := Sockets{UID: 4_000_000, RuntimeDir: t.TempDir()}
	if isSocket(systemSocket) {
		t.Skip("a system daemon runs here")
	}
	if got := s.Dial(); got != s.Listen() {
		t.Errorf("Dial() = %q, want %q", got, s.Listen())
	}
}

func TestIsPrivateDir(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	chmod := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(0o700)
	if !isPrivateDir(dir, os.Getuid()) {
		t.Error("own folder of mode 0700 is refused")
	}
	if isPrivateDir(dir, os.Getuid()+1) {
		t.Error("a stranger's folder is accepted")
	}
	if isPrivateDir(link, os.Getuid()) {
		t.Error("a link is accepted: its owner can turn it elsewhere")
	}
	chmod(0o755)
	if isPrivateDir(dir, os.Getuid()) {
		t.Error("a folder that others can look into is accepted")
	}
}

func TestSocketPath(t *testing.T) {
	for in, want := range map[string]string{
		"unix:///run/roost/roostd.sock": "/run/roost/roostd.sock",
		"unix:.roost/roostd.sock":       ".roost/roostd.sock",
		"/tmp/x.sock":                   "/tmp/x.sock",
		"./x.sock":                      "./x.sock",
	} {
		if got, err := SocketPath(in); got != want || err != nil {
			t.Errorf("SocketPath(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "unix://", "localhost:443", "tcp://10.0.0.1/x", "unix:///" + strings.Repeat("x", 107)} {
		if got, err := SocketPath(in); err == nil {
			t.Errorf("SocketPath(%q) = %q, want an error", in, got)
		}
	}
}

// listen makes a socket at path that nobody accepts from.
func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
