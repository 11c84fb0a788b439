package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// needs skips a case on a host that cannot keep a limit.
func (f *faultCase) needs(h *host, ability string) {
	f.Helper()
	info, err := h.system.GetInfo(h.Context(), &roostv1.GetInfoRequest{})
	if err != nil {
		f.Fatal(err)
	}
	for _, a := range info.Abilities {
		if a.Name == ability && !a.Available {
			f.Skip(ability + ": " + a.Detail)
		}
	}
}

// bomb is a fork bomb that could harm nobody, were there no limit: it starts no more
// than three hundred processes, of which none lives long.
const bomb = `for round in 1 2 3; do sh -c 'n=0; while [ $n -lt 100 ]; do sleep 30 & n=$((n+1)); done; wait' || sleep 1; done & exec `

func TestFault_ForkBomb(t *testing.T) {
	f := fault(t, "19", "an app forks as often as it can, within limits.pids; it is stopped")
	f.Parallel()
	h := newHost(f)
	f.needs(h, "limits.pids")
	const limit = 60
	spec := h.spec("bomb")
	spec.Command = []string{"/bin/sh", "-c", bomb + spec.Command[0]}
	spec.Limits = &roostv1.Limits{Pids: limit}
	spec.Stop = &roostv1.Stop{Timeout: durationpb.New(time.Second)}
	h.apply(spec, h.spec("other"))
	h.get("other", "/").wants(t, http.StatusOK)
	h.ctlOut("start", "bomb", "--no-wait") // it may be served, or find no room for its own threads
	h.eventually("the limit is felt", func() bool { return len(h.inFolder("bomb")) > limit/2 })
	for range f.size(10, 100) {
		began := time.Now()
		f.lost("requests of others", count(h.get("other", "/").status != http.StatusOK))
		f.slowest("request", time.Since(began))
		began = time.Now()
		h.app("other")
		f.slowest("call", time.Since(began))
		f.lost("tasks too many", count(len(h.inFolder("bomb")) > limit))
		f.count("requests", 1)
	}
	began := time.Now()
	h.stop("bomb")
	took := time.Since(began)
	f.slowest("stop", took)
	if f.full() {
		f.lost("stops in time", count(took > 5*time.Second))
	}
	f.lost("processes not killed", len(h.inFolder("bomb")))
	f.lost("requests of others", count(h.get("other", "/").status != http.StatusOK))
}

func TestFault_MemoryLimit(t *testing.T) {
	f := fault(t, "20", "an app, and a child of one, use more than limits.memory; another more than recycle.max_memory, under load")
	f.Parallel()
	h := newHost(f)
	f.needs(h, "limits.memory")
	spec := h.spec("web")
	spec.Limits = &roostv1.Limits{Memory: 64 << 20}
	spec.Restart = &roostv1.Restart{RapidFailsPerMinute: new(int32(100))} // each request is tried on a second instance
	// Of its child the kernel kills, too, nothing is said but by the shell that waits for it.
	parent := h.spec("parent")
	parent.Command = []string{
		"/bin/sh", "-c", "head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null; echo child ended $?; trap '' TERM; " + parent.Command[0] + " -ignore-term",
	}
	parent.Limits = &roostv1.Limits{Memory: 64 << 20}
	parent.Stop = &roostv1.Stop{Timeout: durationpb.New(100 * time.Millisecond)}
	graceful := h.spec("graceful")
	graceful.Recycle.MaxMemory = 100 << 20
	h.apply(spec, parent, graceful)

	for range f.size(2, 8) {
		h.get("web", "/").wants(t, http.StatusOK)
		i := h.live("web")[0]
		h.get("web", "/eat?mib=200").wants(t, http.StatusBadGateway)
		f.count("apps killed for memory", 1)
		f.lost("reasons", count(!h.exit(i.Id).GetOom()))
		h.eventually("it is started again", func() bool { return h.app("web").Ready == 1 })
	}

	h.get("parent", "/").wants(t, http.StatusOK)
	if out := h.ctlOut("logs", "parent"); !strings.Contains(out, "child ended 137") {
		t.Errorf("no child was killed: %s", out)
	}
	i := h.live("parent")[0]
	f.count("children killed for memory", 1)
	h.stop("parent")
	f.lost("reasons", count(h.exit(i.Id).GetOom()))

	h.get("graceful", "/").wants(t, http.StatusOK)
	pid := h.pids("graceful")[0]
	l := startLoad(h, "graceful", 4, 50, true)
	h.get("graceful", "/eat?mib=120").wants(t, http.StatusOK)
	h.replaced("graceful", pid)
	f.count("recycles", 1)
	l.tell(f)
}

// exit is how an instance ended, once that is known.
func (h *host) exit(id string) (e *roostv1.Exit) {
	h.Helper()
	h.eventually("the exit of "+id+" is known", func() bool {
		resp, err := h.instances.GetInstance(h.Context(), &roostv1.GetInstanceRequest{Id: id})
		if err != nil {
			h.Fatal(err)
		}
		e = resp.Instance.Exit
		return e != nil
	})
	return e
}
