package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// The proxy is killed under load. What is on its way then is lost, and seen to be;
// nothing else is, and neither an app nor a drain notices.
func TestFault_ProxyKilled(t *testing.T) {
	f := fault(t, "-", "the proxy is killed with SIGKILL under load, once with the daemon and once in a drain")
	f.Parallel()
	h := newHost(f)
	spec := h.spec("web")
	spec.Stop = &roostv1.Stop{Drain: durationpb.New(10 * time.Minute)} // a drain that waits for it fails the case
	h.apply(spec)
	h.get("web", "/").wants(f, http.StatusOK)
	pids := h.pids("web")
	l := startPatientLoad(h.url, "web", 20)

	kills := f.size(4, 10)
	for n := range kills {
		l.renewed(h)
		cut := h.openStreams()
		withDaemon := n == kills-1
		if withDaemon {
			h.eventually("the proxy's snapshot is on disk", func() bool {
				b, err := os.ReadFile(filepath.Join(h.dir, "proxy", "snapshot.json"))
				return err == nil && strings.Contains(string(b), h.live("web")[0].Id)
			})
			h.daemon.end(syscall.SIGKILL)
		}
		l.killing(func() { h.proxy.end(syscall.SIGKILL) })
		f.count("kills", 1)
		f.lost("cuts that look complete", cut())
		began := time.Now()
		h.startProxy(h.url)
		l.renewed(h) // by what it last knew where the daemon is away
		f.slowest("served again after", time.Since(began))
		if withDaemon {
			h.startDaemon()
		}
		h.awaitProxy()
	}
	f.lost("apps", count(!slices.Equal(pids, h.pids("web"))))

	// An instance drains for a request that dies with its proxy.
	slow := h.wire()
	slow.send(f, "GET /sse HTTP/1.1\nHost: web.test\n\n")
	slow.status(f)
	resp, err := h.apps.RecycleApp(f.Context(), &roostv1.RecycleAppRequest{Name: "web"})
	if err != nil {
		f.Fatal(err)
	}
	h.eventually("the old instance drains", func() bool {
		return slices.ContainsFunc(h.live("web"), func(i *roostv1.Instance) bool {
			return i.Phase == roostv1.InstancePhase_INSTANCE_PHASE_DRAINING
		})
	})
	began := time.Now()
	l.killing(func() { h.proxy.end(syscall.SIGKILL) })
	f.count("kills", 1)
	f.lost("drains", count(h.rollout(resp.RolloutId).GetPhase() != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE))
	f.slowest("drain over after", time.Since(began))
	h.startProxy(h.url)
	l.renewed(h)
	l.tell(f)
}

// openStreams has answers under way whose end is told by their framing, or by the
// connection's. The function it returns counts those that ended as complete ones do.
func (h *host) openStreams() (complete func() int) {
	h.Helper()
	var streams []*client
	for _, version := range []string{"1.0", "1.1"} {
		c := h.wire()
		c.send(h, "GET /sse HTTP/%s\nHost: web.test\n\n", version)
		c.status(h)
		streams = append(streams, c)
	}
	return func() (n int) {
		for i, c := range streams {
			rest, err := io.ReadAll(c.r)
			whole := i == 1 && strings.HasSuffix(string(rest), "\r\n0\r\n\r\n")
			if whole || i == 0 && !errors.Is(err, syscall.ECONNRESET) {
				h.Logf("stream %d ended with %v after %q", i, err, rest)
				n++
			}
			c.close()
		}
		return n
	}
}

// patientLoad asks for bodies that can be checked. While no proxy is there its
// workers wait for one, and a connection that was closed while nothing was asked on
// it is opened anew, as clients do; everything else that fails is a loss, unless it
// was on its way when the proxy was killed.
type patientLoad struct {
	stop    chan struct{}
	workers sync.WaitGroup

	mu      sync.Mutex
	kills   int  // that are over
	dying   bool // one is under way
	ok, cut int
	wrong   []string
	over    []int // answers by worker since the last look
}

func startPatientLoad(addr, name string, connections int) *patientLoad {
	l := &patientLoad{stop: make(chan struct{}), over: make([]int, connections)}
	for worker := range connections {
		l.workers.Go(func() { l.work(worker, addr, name) })
	}
	return l
}

func (l *patientLoad) work(worker int, addr, name string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var c *client
	defer func() { c.close() }()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		before := l.deaths()
		if c != nil && !c.idle() {
			c.close()
			c = nil
		}
		if c == nil {
			var err error
			if c, err = dialClient(addr); err != nil {
				c = nil
				continue
			}
		}
		err := c.askChecked(name)
		l.note(worker, before, err)
		if err != nil {
			c.close()
			c = nil
		}
	}
}

// idle reports whether a connection that nothing was asked on is open still.
func (c *client) idle() bool {
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.r.Peek(1)
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

var errWrong = errors.New("a wrong answer")

// askChecked asks for 32 KiB in chunks and compares them with their sum.
func (c *client) askChecked(name string) error {
	resp, body, err := c.ask(name, "/random?n=32768", false)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(body))
	if resp.StatusCode != http.StatusOK || len(body) != 32768 || resp.Trailer.Get("Sum") != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("%w: %d %s, %d bytes", errWrong, resp.StatusCode, resp.Header.Get("Roost-Error"), len(body))
	}
	return nil
}

// deaths is how many kills are over.
func (l *patientLoad) deaths() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kills
}

// note takes what became of a request that began when so many kills were over. It
// was on its way during one if more are over now, or one is not.
func (l *patientLoad) note(worker, before int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.ok++
		l.over[worker]++
	case (l.kills > before || l.dying) && !errors.Is(err, errWrong):
		l.cut++
	default:
		l.wrong = append(l.wrong, err.Error())
	}
}

// killing does the kill, and returns when the process is gone.
func (l *patientLoad) killing(kill func()) {
	set := func(dying bool, kills int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dying, l.kills = dying, l.kills+kills
	}
	set(true, 0)
	kill()
	set(false, 1)
}

// renewed waits until every worker has been answered.
func (l *patientLoad) renewed(h *host) {
	h.Helper()
	l.mu.Lock()
	clear(l.over)
	l.mu.Unlock()
	h.eventually("every connection is served", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Min(l.over) > 0
	})
}

func (l *patientLoad) tell(f *faultCase) {
	f.Helper()
	close(l.stop)
	l.workers.Wait()
	f.count("requests", l.ok+l.cut+len(l.wrong))
	f.count("cut by a kill", l.cut)
	f.lost("requests", len(l.wrong))
	for _, why := range l.wrong[:min(len(l.wrong), 10)] {
		f.Log(why)
	}
}
