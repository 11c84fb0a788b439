package e2e

import (
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// An app that crashes again and again is started ever later, and then not at all,
// until its minute has passed or somebody starts it.
func TestFault_CrashLoop(t *testing.T) {
	f := fault(t, "10", "an app crashes as soon as it is ready, until it is blocked; started by hand, it crashes on")
	f.Parallel()
	c := crashes{newHost(f), f}
	c.eventually("it has a keeper", func() bool { _, ok := c.keeper(); return ok })
	spec := c.spec("web")
	spec.Start = &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT}
	spec.Restart = &roostv1.Restart{
		RapidFailsPerMinute: new(int32(5)), Backoff: durationpb.New(200 * time.Millisecond), MaxBackoff: durationpb.New(800 * time.Millisecond),
	}
	delays := []time.Duration{0, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 800 * time.Millisecond}
	c.apply(spec)
	if f.full() {
		c.once(delays[0])
		c.once(delays[1])
		c.eventually("it has been ready for more than ten seconds", func() bool {
			return time.Since(c.live("web")[0].ReadyTime.AsTime()) > 11*time.Second
		})
		c.once(delays[0])
		c.ctlOut("start", "web") // for a new minute
	}
	for range 2 {
		for _, d := range delays {
			c.once(d)
		}
		c.last()
		c.ctlOut("start", "web")
	}
	if f.full() {
		for _, d := range delays {
			c.once(d)
		}
		c.last()
		c.within(2*time.Minute, "the minute has passed", func() bool { return c.app("web").Ready == 1 })
		c.get("web", "/").wants(t, http.StatusOK)
	}
}

// crashes has the app web crash.
type crashes struct {
	*host
	f *faultCase
}

// once has it crash, to be started again after the delay.
func (c crashes) once(delay time.Duration) {
	c.Helper()
	crashed := c.crash()
	var next *roostv1.Instance
	c.eventually("another is ready", func() bool {
		live := c.live("web")
		if len(live) != 1 || live[0].ReadyTime == nil || live[0].Id == crashed.Id {
			return false
		}
		next = live[0]
		return true
	})
	took := next.StartTime.AsTime().Sub(crashed.Exit.Time.AsTime())
	c.f.lost("delays", count(took < delay))
	c.f.slowest("restart late by", took-delay)
}

// last has it crash once too often: requests are told so, nothing more is started,
// and Roost has nothing to do.
func (c crashes) last() {
	c.Helper()
	c.crash()
	c.eventually("it is blocked", func() bool { return c.app("web").State == roostv1.AppState_APP_STATE_BLOCKED })
	starts, used, since := c.host.count("web", "InstanceStarting"), cpu(c, c.daemon.pid(), c.keeperPID), time.Now()
	c.eventually("some time has passed", func() bool {
		began := time.Now()
		r := c.get("web", "/")
		c.f.slowest("refusal", time.Since(began))
		c.f.lost("refusals", count(r.status != http.StatusBadGateway || r.header.Get("Roost-Error") != "rapid-fail"))
		c.f.count("refused requests", 1)
		return time.Since(since) > time.Duration(c.f.size(1, 5))*time.Second
	})
	used, took := cpu(c, c.daemon.pid(), c.keeperPID)-used, time.Since(since)
	c.f.slowest("CPU while blocked", used)
	if c.f.full() {
		c.f.lost("idle CPU", count(used > took/100))
	}
	c.f.lost("starts too many", c.host.count("web", "InstanceStarting")-starts)
}

// crash kills it, and returns what was known of it when it was over.
func (c crashes) crash() *roostv1.Instance {
	c.Helper()
	c.eventually("it is ready", func() bool { return c.app("web").Ready == 1 })
	i := c.live("web")[0]
	kill(c, i.Pid)
	c.f.count("crashes", 1)
	c.eventually("its exit is known", func() bool {
		resp, err := c.instances.GetInstance(c.Context(), &roostv1.GetInstanceRequest{Id: i.Id})
		if err != nil {
			c.Fatal(err)
		}
		i = resp.Instance
		return i.Exit != nil
	})
	return i
}

// cpu is what processes have used so far.
func cpu(t testing.TB, pids ...int) time.Duration {
	t.Helper()
	var ticks int64
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		// The name, which is the second field, may have spaces in it.
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / 100
}
