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

// While daemon and keeper are both away nobody reads: once its pipe is full, a write of
// the app waits. The rest of the app does not, and the write goes on with the next keeper.
func TestFault_AppWritesWithNobodyToRead(t *testing.T) {
	f := fault(t, "4", "the keeper is killed; then too while the daemon hangs, which goes on or dies; an app writes 54 MB (12) and serves")
	f.Parallel()
	h := newHost(f)
	spec := h.spec("web")
	spec.Logs = &roostv1.Logs{MaxSize: 10 << 20, MaxFiles: new(int32(20))}
	h.apply(spec)
	h.get("web", "/").wants(f, 200)
	h.eventually("it has a keeper", func() bool { _, ok := h.keeper(); return ok && len(h.serving()) == 1 })
	before := h.serving()
	l := startLoad(h, "web", 4, 100, true)

	next := 0
	chunks := f.size(2, 9) << 20 / (64 << 10) // more than a pipe holds, which is 1 MiB at most
	writeAll := func(what string) error {
		for range chunks {
			var chunk bytes.Buffer
			for chunk.Len() < 64<<10 {
				fmt.Fprintf(&chunk, numberedLine, next)
				next++
			}
			began := time.Now()
			if err := h.tryWrite("web", "stdout", chunk.Bytes()); err != nil {
				return err
			}
			f.slowest(what, time.Since(began))
			f.count("writes of 64 KiB", 1)
		}
		return nil
	}
	// A daemon that hangs does not say which its keeper is.
	hang := func() {
		h.keeper()
		h.daemon.signal(syscall.SIGSTOP)
		kill(f, int32(h.keeperPID))
	}
	for _, step := range []struct {
		what       string
		away, back func()
		nobody     bool // reads until back
	}{
		{"write over a keeper's death", func() { h.killKeeper() }, func() {}, false},
		{"write over a hang", hang, func() { h.daemon.signal(syscall.SIGCONT) }, true},
		{"write over both deaths", hang, func() { h.daemon.end(syscall.SIGKILL); h.startDaemon() }, true},
	} {
		if err := writeAll("write"); err != nil {
			f.Fatal(err)
		}
		step.away()
		old := h.keeperPID
		written := make(chan error, 1)
		go func() { written <- writeAll(step.what) }()
		h.allServe([]*load{l}, 50)
		if step.nobody && len(written) > 0 {
			f.Errorf("%s: it was over with nobody to read it: %v", step.what, <-written)
		}
		step.back()
		select {
		case err := <-written:
			if err != nil {
				f.Fatalf("%s: %v", step.what, err)
			}
		case <-time.After(2 * patience):
			f.Fatalf("%s: the app still waits", step.what)
		}
		h.nextKeeper(old)
		h.eventually("the daemon knows it again", func() bool { return len(h.serving()) == 1 })
		f.lost("pids", count(h.serving()["web"] != before["web"]))
	}
	l.tell(f)
	h.write("web", "stdout", fmt.Appendf(nil, "lines %d\n", next))
	h.stop("web")
	var n numbered
	for line := range h.lines("web") {
		n.see(line)
	}
	n.tell(f, "web")
}
