package probe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/probe/sockdiag"
)

// fakeKernel answers from what a test put in.
type fakeKernel struct {
	mu      sync.Mutex
	sockets []sockdiag.Socket
	asked   int // questions for a listener
	from    time.Time
}

func (k *fakeKernel) Listener(addr netip.AddrPort) (sockdiag.Socket, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	for _, s := range k.sockets {
		if s.Local == addr && !time.Now().Before(k.from) {
			return s, true, nil
		}
	}
	return sockdiag.Socket{}, false, nil
}

func (k *fakeKernel) Listeners(port uint16) (found []sockdiag.Socket, _ error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.sockets {
		if (port == 0 || s.Local.Port() == port) && !time.Now().Before(k.from) {
			found = append(found, s)
		}
	}
	return found, nil
}

func (k *fakeKernel) set(s ...sockdiag.Socket) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sockets = s
}

func (k *fakeKernel) Conn(_, _ netip.AddrPort) (sockdiag.Socket, bool, error) {
	return sockdiag.Socket{}, false, nil
}

func (k *fakeKernel) Users(port uint16) ([]sockdiag.Socket, error) { return k.Listeners(port) }

func (k *fakeKernel) UnixListeners() ([]sockdiag.UnixSocket, error) { return nil, nil }

// fakeProc is a /proc in which the pids have sockets open.
func fakeProc(t testing.TB, open map[int][]uint32) procfs {
	t.Helper()
	root := t.TempDir()
	for pid, inodes := range open {
		dir := filepath.Join(root, fmt.Sprint(pid), "fd")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, inode := range inodes {
			if err := os.Symlink(fmt.Sprintf("socket:[%d]", inode), filepath.Join(dir, fmt.Sprint(i+3))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return procfs(root)
}

func socketAt(address string, inode uint32) sockdiag.Socket {
	return sockdiag.Socket{Local: netip.MustParseAddrPort(address), State: sockdiag.Listen, Inode: inode, UID: 1000}
}

func fakeProber(k *fakeKernel, proc procfs) *Prober {
	r := New(Config{})
	r.fine = false // the kernel knows no virtual time
	r.net, r.proc = k, proc
	return r
}

func portLaunch(port int) app.Launch {
	l := launch(app.ListenPort, nil)
	l.Port = port
	return l
}

func TestWaitReady_AddsAFewPercentToTheBoot(t *testing.T) {
	proc := fakeProc(t, map[int][]uint32{7: {70}})
	for _, boot := range []time.Duration{0, 5 * time.Millisecond, 90 * time.Millisecond, 3 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			k := &fakeKernel{sockets: []sockdiag.Socket{socketAt("127.0.0.1:80", 70)}, from: start.Add(boot)}
			p := &process{info: app.ProcessInfo{PID: 7}}
			if _, err := wait(t, fakeProber(k, proc), p, portLaunch(80), time.Hour); err != nil {
				t.Fatal(err)
			}
			if late, most := time.Since(start)-boot, max(firstPause, boot*4/100); late > most {
				t.Errorf("boot of %s: found %s late, want at most %s", boot, late, most)
			}
			if k.asked > 600 {
				t.Errorf("boot of %s: asked %d times", boot, k.asked)
			}
		})
	}
}

func TestWaitReady_ASocketOnItsWayIsNoStranger(t *testing.T) {
	// Passed on by SCM_RIGHTS, no process has it for a moment.
	proc := fakeProc(t, map[int][]uint32{7: nil})
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{sockets: []sockdiag.Socket{socketAt("127.0.0.1:80", 70)}}
		p := &process{info: app.ProcessInfo{PID: 7, UID: 1000}}
		go func() {
			time.Sleep(2 * firstPause)
			_ = os.Symlink("socket:[70]", proc.path(7, "fd/3"))
		}()
		if got, err := wait(t, fakeProber(k, proc), p, portLaunch(80), time.Hour); err != nil || got != "127.0.0.1:80" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestWaitReady_UnseenStrangerIsNamedByUID(t *testing.T) {
	proc := fakeProc(t, map[int][]uint32{7: nil})
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{sockets: []sockdiag.Socket{socketAt("127.0.0.1:80", 70)}}
		p := &process{info: app.ProcessInfo{PID: 7}}
		_, err := wait(t, fakeProber(k, proc), p, portLaunch(80), time.Hour)
		if e := startError(t, err); e.Step != "port" || !strings.Contains(e.Message, "uid 1000") {
			t.Errorf("%+v", e)
		}
	})
}

func TestWaitReady_OutOfReachAtFirstOnly(t *testing.T) {
	proc := fakeProc(t, map[int][]uint32{7: {70, 71}})
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{}
		k.set(socketAt("10.0.0.1:80", 70))
		go func() {
			time.Sleep(unreachableGrace - 200*time.Millisecond)
			k.set(socketAt("10.0.0.1:80", 70), socketAt("[::1]:80", 71))
		}()
		p := &process{info: app.ProcessInfo{PID: 7}}
		if got, err := wait(t, fakeProber(k, proc), p, portLaunch(80), time.Hour); err != nil || got != "[::1]:80" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestWaitReady_AnotherPortFirstIsNoFailure(t *testing.T) {
	proc := fakeProc(t, map[int][]uint32{7: {70, 71}})
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{}
		k.set(socketAt("127.0.0.1:9010", 70)) // a management port
		go func() {
			time.Sleep(time.Minute)
			k.set(socketAt("127.0.0.1:9010", 70), socketAt("127.0.0.1:80", 71))
		}()
		p := &process{info: app.ProcessInfo{PID: 7}}
		if got, err := wait(t, fakeProber(k, proc), p, portLaunch(80), time.Hour); err != nil || got != "127.0.0.1:80" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestWaitReady_WorkerIsReadyAfterMinReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := launch(app.ListenNone, func(s *app.Spec) { s.Recycle.MinReady = new(3 * time.Second) })
		got, err := wait(t, fakeProber(&fakeKernel{}, ""), &process{}, l, time.Hour)
		if err != nil || got != "" || time.Since(start) != 3*time.Second {
			t.Errorf("got %q, %v after %s", got, err, time.Since(start))
		}
	})
}

func TestWaitReady_Notify(t *testing.T) {
	proc := fakeProc(t, map[int][]uint32{7: {70}})
	synctest.Test(t, func(t *testing.T) {
		r := fakeProber(&fakeKernel{sockets: []sockdiag.Socket{socketAt("127.0.0.1:80", 70)}}, proc)
		l := portLaunch(80)
		l.Spec.Ready.Kind = app.ProbeNotify
		p := &process{info: app.ProcessInfo{PID: 7}, notified: make(chan struct{})}
		_, err := wait(t, r, p, l, time.Second)
		if e := startError(t, err); !e.Timeout || !strings.Contains(e.Message, "READY=1") {
			t.Errorf("%+v", e)
		}
		close(p.notified)
		if got, err := wait(t, r, p, l, time.Second); err != nil || got != "127.0.0.1:80" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestWaitReady_ExecUntilItSucceeds(t *testing.T) {
	proc := fakeProc(t, map[int][]uint32{7: {70}})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := fakeProber(&fakeKernel{sockets: []sockdiag.Socket{socketAt("127.0.0.1:80", 70)}}, proc)
		l := portLaunch(80)
		l.Spec.Ready.Kind = app.ProbeExec
		l.Spec.Ready.Interval = new(time.Second)
		p := &process{info: app.ProcessInfo{PID: 7}, execErr: errors.New("exit status 1"), execFail: 3}
		if _, err := wait(t, r, p, l, time.Minute); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %s, want success at the fourth, 3 s later", err, time.Since(start))
		}
		p = &process{info: app.ProcessInfo{PID: 7}, execErr: errors.New("exit status 1"), execFail: 1000}
		_, err := wait(t, r, p, l, 10*time.Second)
		if e := startError(t, err); !e.Timeout || !strings.Contains(e.Message, "exit status 1") {
			t.Errorf("%+v", e)
		}
	})
}

// output is a fake of what an instance writes.
type output struct {
	mu    sync.Mutex
	bytes map[string][]byte
}

func (o *output) write(stream, s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes[stream] = append(o.bytes[stream], s...)
}

func (o *output) Open(_ string, _ app.InstanceID, stream string) io.ReadCloser {
	return &outputReader{o: o, stream: stream}
}

type outputReader struct {
	o      *output
	stream string
	pos    int
}

func (r *outputReader) Read(p []byte) (int, error) {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	n := copy(p, r.o.bytes[r.stream][r.pos:])
	r.pos += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *outputReader) Close() error { return nil }

func TestWaitReady_LogLine(t *testing.T) {
	for name, writes := range map[string][]string{
		"whole":           {"booting\nnow listening\r\n"},
		"split":           {"booting\nnow lis", "tening\n"},
		"prompt":          {"booting\n", "now listening"},
		"after much else": {strings.Repeat("x", longestLine+20<<10) + "now listening", strings.Repeat("y", longestLine)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &output{bytes: map[string][]byte{}}
				r := fakeProber(&fakeKernel{}, "")
				r.cfg.Output = o
				l := launch(app.ListenNone, func(s *app.Spec) {
					s.Recycle.MinReady = new(time.Duration)
					s.Ready = app.Probe{Kind: app.ProbeLog, Pattern: "listening"}
					if name != "after much else" {
						s.Ready.Pattern = "^now listening$"
					}
				})
				_, err := wait(t, r, &process{}, l, time.Second)
				if e := startError(t, err); !e.Timeout || !strings.Contains(e.Message, l.Spec.Ready.Pattern) {
					t.Errorf("before: %+v", e)
				}
				go func() {
					for _, s := range writes {
						time.Sleep(50 * time.Millisecond)
						o.write("stderr", s)
					}
				}()
				if _, err := wait(t, r, &process{}, l, 10*time.Second); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestLines_HalfALineDoesNotMatchItsEnd(t *testing.T) {
	s := &lines{match: func(b []byte) bool { return string(b) == "not listening" }}
	if s.add([]byte("not listening")) || s.prompt() {
		t.Error("matched before the line ended")
	}
	if s.add([]byte(" yet\n")) {
		t.Error("matched another line")
	}
}

func TestLines_AnyChunking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-c\n]{0,200}`).Draw(t, "text")
		var want, got []string
		for line := range strings.SplitSeq(text, "\n") {
			want = append(want, line)
		}
		want = want[:len(want)-1]
		s := &lines{match: func(b []byte) bool { got = append(got, string(b)); return false }}
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			s.add([]byte(rest[:n]))
			rest = rest[n:]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestProcfs_UnreadableLinksAreAPermissionError(t *testing.T) {
	if err := permissionOnly(&fs.PathError{Err: fs.ErrPermission}); err == nil {
		t.Error("the error is lost")
	}
	if err := permissionOnly(&fs.PathError{Err: fs.ErrNotExist}); err != nil {
		t.Errorf("a process that is gone is an error: %v", err)
	}
}
