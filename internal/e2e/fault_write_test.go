package e2e

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// An app that writes much, and serves, does not notice that its daemon hangs and then
// dies: each request is answered when the app has written what it was sent.
func TestFault_AppWritesWithoutADaemon(t *testing.T) {
	f := fault(t, "4", "the daemon hangs, then dies, while an app writes 50 MB (8 in the short form) and serves")
	f.Parallel()
	h := newHost(f)
	spec := h.spec("web")
	files := int32(10)
	spec.Logs = &roostv1.Logs{MaxSize: 10 << 20, MaxFiles: &files}
	h.apply(spec)
	h.get("web", "/write") // it is there, and so is its keeper
	h.eventually("it has a keeper", func() bool { _, ok := h.keeper(); return ok })
	before := h.serving()

	next := 0
	writeSome := func() {
		var chunk bytes.Buffer
		for chunk.Len() < 64<<10 {
			fmt.Fprintf(&chunk, numberedLine, next)
			next++
		}
		began := time.Now()
		h.write("web", "stdout", chunk.Bytes())
		f.slowest("write", time.Since(began))
		f.count("writes of 64 KiB", 1)
	}
	half := f.size(4, 25) << 20 / (64 << 10)
	h.daemon.signal(syscall.SIGSTOP)
	for range half {
		writeSome()
	}
	h.daemon.end(syscall.SIGKILL)
	for range half {
		writeSome()
	}
	h.startDaemon()
	h.eventually("the daemon knows it again", func() bool { _, ok := h.keeper(); return ok && len(h.serving()) == 1 })
	f.lost("pids", count(h.serving()["web"] != before["web"]))
	h.write("web", "stdout", fmt.Appendf(nil, "lines %d\n", next))
	h.stop("web")
	var n numbered
	for line := range h.lines("web") {
		n.see(line)
	}
	n.tell(f, "web")
}
