package proc

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReadStat_Self(t *testing.T) {
	s, err := ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != os.Getpid() || s.PPID != os.Getppid() || s.StartTicks == 0 || s.Dead() {
		t.Errorf("stat of this test = %+v", s)
	}
}

func TestBegan_IsBetweenTheParentsAndNow(t *testing.T) {
	before := time.Now()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	child, err := ReadStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// A tick is rounded down.
	if began := Began(child.StartTicks); began.Before(before.Add(-2*tick)) || began.After(time.Now()) {
		t.Errorf("it began at %v, after %v", began, before)
	}
}

func TestReadStat_NobodyThere(t *testing.T) {
	if _, err := ReadStat(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want not exist", err)
	}
}

func TestParseStat_AnyNameOfAProgram(t *testing.T) {
	const rest = " S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0"
	for _, name := range []string{"a", "a b", ") R 9 9 9", "(((", "\n)"} {
		s, err := parseStat([]byte("42 (" + name + ")" + rest))
		want := Stat{PID: 42, State: 'S', PPID: 3, PGID: 4, SID: 5, StartTicks: 77}
		if err != nil || s != want {
			t.Errorf("name %q: %+v, %v, want %+v", name, s, err, want)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0"))
	f.Add([]byte("1 ()"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseStat(data); err != nil && s != (Stat{}) {
			t.Errorf("%q: both %+v and %v", data, s, err)
		}
	})
}

func TestParseMounts(t *testing.T) {
	const info = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 /docker/a /sys/fs/cgroup/uni\040fied rw,relatime - cgroup2 cgroup2 rw
`
	mounts, err := parseMounts(strings.NewReader(info))
	if err != nil || len(mounts) != 2 {
		t.Fatalf("mounts %+v, %v, want two", mounts, err)
	}
	if !mounts[0].Has("cpuacct") || mounts[0].Has("memory") || mounts[0].Unified {
		t.Errorf("v1 mount = %+v", mounts[0])
	}
	if dir, ok := mounts[1].Dir("/docker/a/b"); dir != "/sys/fs/cgroup/uni fied/b" || !ok || !mounts[1].Unified {
		t.Errorf("v2 mount = %+v, its folder %q", mounts[1], dir)
	}
	for _, outside := range []string{"/docker", "/docker/ab", "/docker/a/../x"} {
		if dir, ok := mounts[1].Dir(outside); ok {
			t.Errorf("%s lies outside of the mount, Dir = %q", outside, dir)
		}
	}
}

func TestParseCgroups(t *testing.T) {
	got := parseCgroups([]byte("9:name=systemd:/x\n4:cpu,cpuacct:/a:b\n0::/u\n"))
	if got["cpuacct"] != "/a:b" || got[""] != "/u" || got["name=systemd"] != "/x" {
		t.Errorf("cgroups = %v", got)
	}
}

func TestOpen_RefusesAnotherStartTime(t *testing.T) {
	s, err := ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(s.PID, s.StartTicks)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(0); err != nil {
		t.Errorf("signal 0 to this test = %v", err)
	}
	if _, err := Open(s.PID, s.StartTicks+1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a pid of another start time: %v, want not exist", err)
	}
	// It would end this test if it were sent.
	if err := Signal(s.PID, s.StartTicks+1, unix.SIGKILL); err != nil {
		t.Errorf("Signal of a process that is gone = %v, want nil", err)
	}
}

func TestEnviron_OfThisProcess(t *testing.T) {
	if _, err := Environ(os.Getpid(), "ROOST_NO_SUCH_VARIABLE"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a variable that is not there was found")
	}
}
