package sockdiag

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// listen opens a TCP listener and returns its address and its inode.
func listen(t testing.TB, network, address string) (netip.AddrPort, uint32) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("listen on %s %s: %v", network, address, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort(), inode(t, l.(syscall.Conn))
}

func inode(t testing.TB, c syscall.Conn) uint32 {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

func TestQuerier_ListenerFindsWhatAClientWouldReach(t *testing.T) {
	var q Querier
	defer q.Close()
	for _, tt := range []struct {
		network, address string
		v4, v6           bool // reached at 127.0.0.1, ::1
	}{
		{"tcp4", "127.0.0.1:0", true, false},
		{"tcp4", "0.0.0.0:0", true, false},
		{"tcp6", "[::1]:0", false, true},
		{"tcp6", "[::]:0", false, true}, // Go sets IPV6_V6ONLY for tcp6
		{"tcp", "[::]:0", true, true},
		{"tcp4", "127.0.0.2:0", false, false},
	} {
		t.Run(tt.network+" "+tt.address, func(t *testing.T) {
			addr, want := listen(t, tt.network, tt.address)
			for host, reached := range map[string]bool{"127.0.0.1": tt.v4, "::1": tt.v6} {
				s, found, err := q.Listener(netip.AddrPortFrom(netip.MustParseAddr(host), addr.Port()))
				if err != nil {
					t.Fatal(err)
				}
				if found != reached {
					t.Errorf("found at %s: %v, want %v", host, found, reached)
				}
				if found && (s.Inode != want || s.State != Listen || s.UID != uint32(os.Getuid())) {
					t.Errorf("at %s: %+v, want inode %d of uid %d", host, s, want, os.Getuid())
				}
			}
		})
	}
}

func TestQuerier_ListenersTellsEveryAddressOfThePort(t *testing.T) {
	var q Querier
	defer q.Close()
	addr, want := listen(t, "tcp4", "127.0.0.2:0")
	got, err := q.Listeners(addr.Port())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Inode != want || got[0].Local != addr {
		t.Errorf("%+v, want one at %s with inode %d", got, addr, want)
	}
	all, err := q.Listeners(0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(s Socket) bool { return s.Inode == want }) {
		t.Errorf("inode %d is not among all %d listening sockets", want, len(all))
	}
}

func TestQuerier_ListenersTellsV6Only(t *testing.T) {
	var q Querier
	defer q.Close()
	for network, want := range map[string]bool{"tcp6": true, "tcp": false} {
		addr, _ := listen(t, network, "[::]:0")
		got, err := q.Listeners(addr.Port())
		if err != nil || len(got) != 1 || got[0].V6Only != want {
			t.Errorf("%s: %+v, %v, want v6 only %v", network, got, err, want)
		}
	}
}

func TestQuerier_ConnHasAnInodeOnceAccepted(t *testing.T) {
	var q Querier
	defer q.Close()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skip(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		local := l.Addr().(*net.TCPAddr).AddrPort()
		remote := client.LocalAddr().(*net.TCPAddr).AddrPort()
		s, found, err := q.Conn(local, remote)
		if err != nil || !found || s.State != Established || s.Inode != 0 {
			t.Fatalf("before accept: %+v, %v, %v, want an established one without inode", s, found, err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		s, found, err = q.Conn(local, remote)
		if want := inode(t, server.(syscall.Conn)); err != nil || !found || s.Inode != want {
			t.Fatalf("after accept: %+v, %v, %v, want inode %d", s, found, err, want)
		}
	}
}

func TestQuerier_UnixListeners(t *testing.T) {
	var q Querier
	defer q.Close()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	all, err := q.UnixListeners()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s UnixSocket) bool { return s.Name == path })
	if i < 0 {
		t.Fatalf("%s is not among %+v", path, all)
	}
	s := all[i]
	if s.Inode != inode(t, l.(syscall.Conn)) || s.File != uint32(st.Ino) || s.HasUID && s.UID != uint32(os.Getuid()) {
		t.Errorf("%+v, want inode %d, file %d", s, inode(t, l.(syscall.Conn)), st.Ino)
	}
}

func TestQuerier_SurvivesAQuestionTheKernelRefuses(t *testing.T) {
	var q Querier
	defer q.Close()
	err := q.with(func(c *conn) error { return c.ask([]byte{200, 0, 0, 0, 0, 0, 0, 0}, 0, nil) })
	if err == nil {
		t.Fatal("no error for a family that does not exist")
	}
	if len(q.idle) != 1 {
		t.Errorf("%d netlink sockets kept after a refusal, want 1", len(q.idle))
	}
	addr, _ := listen(t, "tcp4", "127.0.0.1:0")
	if _, found, err := q.Listener(addr); !found || err != nil {
		t.Errorf("found %v, %v after a refusal", found, err)
	}
}

func TestQuerier_ManyAtOnce(t *testing.T) {
	var q Querier
	defer q.Close()
	addr, want := listen(t, "tcp4", "127.0.0.1:0")
	done := make(chan error)
	for range 16 {
		go func() {
			for range 100 {
				if s, found, err := q.Listener(addr); err != nil || !found || s.Inode != want {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 16 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(q.idle) > maxIdle {
		t.Errorf("%d idle sockets, want at most %d", len(q.idle), maxIdle)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, inetMessageSize))
	f.Add(append(make([]byte, unixMessageSize), 8, 0, 0, 0, 'a', 'b', 'c', 0))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseInet(b)
		_, _ = parseUnix(b)
		c := conn{}
		_, _ = c.answer(b, true, func([]byte) error { return nil })
	})
}

func BenchmarkListener(b *testing.B) {
	var q Querier
	defer q.Close()
	addr, _ := listen(b, "tcp4", "127.0.0.1:0")
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := q.Listener(addr); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkListenersOfAPort(b *testing.B) {
	var q Querier
	defer q.Close()
	addr, _ := listen(b, "tcp4", "127.0.0.1:0")
	for b.Loop() {
		if _, err := q.Listeners(addr.Port()); err != nil {
			b.Fatal(err)
		}
	}
}
