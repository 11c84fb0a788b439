package probe

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bindOnly returns a port that is bound at 127.0.0.1 and not listened on.
func bindOnly(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return name.(*unix.SockaddrInet4).Port
}

func TestProber_APortThatCannotBeBoundIsTaken(t *testing.T) {
	r := newProber(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for what, port := range map[string]int{
		"bound":       bindOnly(t),
		"a client's":  client.LocalAddr().(*net.TCPAddr).Port,
		"listened on": l.Addr().(*net.TCPAddr).Port,
	} {
		if r.PortFree(port) {
			t.Errorf("%s: free", what)
		}
		if owner, busy := r.PortOwner(port); !busy || !strings.Contains(owner, "p") {
			t.Errorf("%s: PortOwner = %q, %v", what, owner, busy)
		}
	}
}

func TestProber_APortThatWasServedIsFree(t *testing.T) {
	r := newProber(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = server.Close(), l.Close() // the server's side waits for the client's end
	port := l.Addr().(*net.TCPAddr).Port
	if owner, busy := r.PortOwner(port); !r.PortFree(port) || busy {
		t.Errorf("a connection that closes: PortOwner = %q, %v", owner, busy)
	}
}
