package e2e

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// shell is a worker that is a line of shell, which gets the rest as its arguments.
func (h *host) shell(name string, argv ...string) *roostv1.AppSpec {
	h.Helper()
	spec := h.spec(name)
	spec.Command = append([]string{"/bin/sh", "-c"}, argv...)
	spec.Routes, spec.Listen = nil, &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_NONE}
	return spec
}

// untilTerm is a line of shell that goes on until it gets SIGTERM, and then does so.
func untilTerm(do string) string { return "trap '" + do + "' TERM; while :; do sleep 0.1; done" }

// Apps that end while those who watch over them are dead are told of as the kernel
// tells, and replaced once.
func TestFault_ExitsThatNobodySaw(t *testing.T) {
	f := fault(t, "2", "apps exit 7, or die of SIGSEGV, while the daemon, the keeper, or both are dead")
	f.Parallel()
	for name, die := range map[string]func(h *host, die func()){
		"daemon": func(h *host, die func()) {
			h.daemon.end(syscall.SIGKILL)
			die()
			h.startDaemon()
		},
		"keeper": func(h *host, die func()) {
			h.keeper()
			h.daemon.signal(syscall.SIGSTOP) // or it starts the next at once
			kill(h, int32(h.keeperPID))
			die()
			h.daemon.signal(syscall.SIGCONT)
		},
		"both": func(h *host, die func()) {
			h.keeper()
			h.daemon.end(syscall.SIGKILL)
			h.killKeeper()
			die()
			h.startDaemon()
		},
	} {
		f.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.apply(h.shell("seven", untilTerm("exit 7")), h.shell("segv", "exec sleep 1000"))
			h.eventually("both run", func() bool { return len(h.serving()) == 2 })
			before := h.serving()
			die(h, func() {
				for app, sig := range map[string]syscall.Signal{"seven": syscall.SIGTERM, "segv": syscall.SIGSEGV} {
					pid := int(before[app])
					if err := syscall.Kill(pid, sig); err != nil {
						t.Fatal(err)
					}
					h.eventually(app+" has ended", func() bool { return !alive(pid) })
				}
			})
			h.eventually("both run again", func() bool {
				after := h.serving()
				return len(after) == 2 && after["seven"] != before["seven"] && after["segv"] != before["segv"]
			})
			for app, want := range map[string]string{"seven": "exited with code 7", "segv": "was ended by SIGSEGV"} {
				f.count("exits", 1)
				got := h.exitOf(app).Attributes["exit"] // and there is but one
				if got == "ended, how is not known" && (name == "both" || !tellsOfReaped(t)) {
					f.count("called unknown", 1)
				} else if got != want {
					f.lost("exits", 1)
					t.Errorf("%s: %q, want %q", app, got, want)
				}
			}
			f.lost("exits", 0)
		})
	}
}

// tellsOfReaped tells whether this kernel knows how a process ended that its parent
// has waited for: Linux 6.15 and later.
func tellsOfReaped(t *testing.T) bool {
	t.Helper()
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.SplitN(string(data), ".", 3)
	major, _ := strconv.Atoi(f[0])
	minor, _ := strconv.Atoi(f[1])
	return major > 6 || major == 6 && minor >= 15
}

// A process that has the number of an app that is no more is nobody's to signal.
func TestFault_BystanderWithARecycledPid(t *testing.T) {
	f := fault(t, "7", "daemon, keeper and an app die, another process gets the app's pid; start, stop, signal, removal")
	f.Parallel()
	last, err := os.OpenFile(lastPID, os.O_WRONLY, 0)
	if err != nil {
		f.Skipf("nobody may choose a pid: %v", err)
	}
	_ = last.Close()
	for lane, by := range lanes() {
		f.Run(lane, func(t *testing.T) {
			h := newHostBy(t, by)
			spec := h.shell("web", "exec sleep 1000")
			spec.Restart = &roostv1.Restart{When: roostv1.RestartWhen_RESTART_WHEN_NEVER}
			h.apply(spec)
			h.eventually("it runs", func() bool { return len(h.serving()) == 1 })
			app := h.live("web")[0]
			h.keeper()
			h.daemon.end(syscall.SIGKILL)
			h.killKeeper()
			kill(t, app.Pid)
			bystander := h.takePid(int(app.Pid))
			defer end(bystander)
			f.count("bystanders", 1)
			h.startDaemon()
			h.eventually("the daemon answers", func() bool { _, ok := h.keeper(); return ok })
			h.eventually("it is known to have ended", func() bool { return h.count("web", "InstanceExited") == 1 })
			if _, err := h.instances.SignalInstance(t.Context(), &roostv1.SignalInstanceRequest{Id: app.Id, Signal: "SIGKILL"}); err == nil {
				t.Error("a signal to an instance that is no more was accepted")
			}
			h.stop("web")
			h.nextKeeper(h.killKeeper()) // once more, by record
			if _, err := h.apps.DeleteApp(t.Context(), &roostv1.DeleteAppRequest{Name: "web"}); err != nil {
				t.Fatal(err)
			}
			f.lost("bystanders", count(!alive(int(app.Pid))))
		})
	}
}

// lastPID has the number after which the kernel looks for the next process's.
const lastPID = "/proc/sys/kernel/ns_last_pid"

// end kills a program that is none of ours.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// takePid starts a process that has a number which was another's.
func (h *host) takePid(pid int) *exec.Cmd {
	h.Helper()
	h.eventually("the number is free", func() bool { _, err := os.Stat("/proc/" + strconv.Itoa(pid)); return err != nil })
	var taken *exec.Cmd
	h.eventually("a process gets the number", func() bool { // others fork, too
		if err := os.WriteFile(lastPID, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			h.Fatal(err)
		}
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			h.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			taken = cmd
			return true
		}
		end(cmd)
		return false
	})
	return taken
}

// lanes are the ways to hold an app's processes together, by what has to become the
// daemon: a cgroup, where the host has one, and none.
func lanes() map[string][]string {
	return map[string][]string{
		"cgroup":    nil,
		"no cgroup": {"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /sys/fs/cgroup && exec "$0" "$@"`},
	}
}

// stopTimeout is for apps that will not end by themselves.
const stopTimeout = 500 * time.Millisecond

// Whatever an app forks, and whatever it ignores, is gone when stop returns.
func TestFault_StopLeavesNothing(t *testing.T) {
	f := fault(t, "5", "an app that forks twice, into sessions of their own, and ignores SIGTERM is stopped, with and without cgroups")
	f.Parallel()
	for lane, by := range lanes() {
		f.Run(lane, func(t *testing.T) {
			h := newHostBy(t, by)
			spec := h.spec("web", "-tree", "3", "-ignore-term")
			spec.Stop = &roostv1.Stop{Timeout: durationpb.New(stopTimeout)}
			h.apply(spec)
			h.get("web", "/").wants(t, 200)
			n := len(h.inFolder("web"))
			if n < 4 {
				t.Fatalf("%d processes, want the app and its three children", n)
			}
			address := h.live("web")[0].Address
			f.count("processes", n)
			h.stop("web")
			left := h.inFolder("web")
			f.lost("processes that outlived stop", len(left))
			l, err := net.Listen("tcp", address)
			f.lost("ports that are still taken", count(err != nil))
			if err == nil {
				_ = l.Close()
			}
		})
	}
}

func TestFault_StopEscalatesThoughTheLeaderObeys(t *testing.T) {
	f := fault(t, "6", "the leader ends on SIGTERM, a child in its group ignores that, with and without cgroups")
	f.Parallel()
	for lane, by := range lanes() {
		f.Run(lane, func(t *testing.T) {
			h := newHostBy(t, by)
			spec := h.shell("web", `trap "" TERM; sleep 1000 & `+untilTerm("exit 0"))
			spec.Stop = &roostv1.Stop{Timeout: durationpb.New(stopTimeout)}
			h.apply(spec)
			h.eventually("it has its child", func() bool { return len(h.serving()) == 1 && len(h.inFolder("web")) >= 2 })
			f.count("processes", len(h.inFolder("web")))
			h.stop("web")
			f.lost("processes that outlived stop", len(h.inFolder("web")))
		})
	}
}
