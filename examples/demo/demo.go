package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type config struct {
	bin      string   // folder of the programs
	examples string   // folder of the manifest
	env      []string // of everything that is started
	root     bool     // run by root
	stay     bool     // until interrupted
	out      io.Writer
}

// demo is one run.
type demo struct {
	config
	dir   string // everything that this run writes is below it
	url   string // of the proxy, without a slash at its end
	procs []*proc
}

func run(ctx context.Context, cfg config) (err error) {
	dir, err := os.MkdirTemp("", "roost-demo-")
	if err != nil {
		return err
	}
	d := &demo{config: cfg, dir: dir}
	defer func() { err = errors.Join(err, d.takeDown()) }()
	if cfg.root {
		// The apps may run as another user: they must get through, and need not look around.
		if err := os.Chmod(dir, 0o711); err != nil {
			return err
		}
	}
	if err := d.show(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	d.sayNext()
	if !d.stay {
		return nil
	}
	return d.wait(ctx)
}

// show does what there is to see, step by step.
func (d *demo) show(ctx context.Context) error {
	d.say("Everything is in %s, and goes with it at the end.\n", d.dir)
	apps, err := readManifest(filepath.Join(d.examples, "roost.yaml"))
	if err != nil {
		return err
	}
	for _, s := range apps.skipMissing() {
		d.step("skip "+s.app, "%s is not on this machine", s.program)
	}
	if err := d.startPrograms(ctx, apps); err != nil {
		return err
	}
	if err := d.apply(ctx, apps); err != nil {
		return err
	}
	d.say("\nNone of these run yet. Their first request starts them, and waits for nothing but their own boot:\n")
	for _, r := range requests {
		if !apps.has(r.app) {
			continue
		}
		if err := d.request(ctx, r); err != nil {
			return err
		}
	}
	ps, err := d.ctl(ctx, nil, "ps")
	if err != nil {
		return err
	}
	d.say("\nWhat runs now (roostctl ps):\n\n%s", indent(ps))
	return nil
}

func (d *demo) startPrograms(ctx context.Context, apps *manifest) error {
	args := []string{
		"--socket", d.socket(), "--state-dir", filepath.Join(d.dir, "state"), "--log-dir", filepath.Join(d.dir, "logs"),
		"--log-format", "json",
	}
	if why := d.unreachable(apps); d.root && why != "" {
		d.step("note", "apps run as root: user %s cannot get to %s", appUser, why)
		args = append(args, "--app-user", "root")
	}
	took := stopwatch()
	if _, err := d.start(ctx, "roostd", args...); err != nil {
		return err
	}
	d.timed("start roostd", took(), "%s", d.daemon())

	took = stopwatch()
	address, err := d.start(ctx, "roost-proxy", "--daemon", d.daemon(), "--listen", "127.0.0.1:0",
		"--state-dir", filepath.Join(d.dir, "proxy"), "--drain-timeout", "2s", "--log-format", "json")
	if err != nil {
		return err
	}
	d.url = "http://" + address
	d.timed("start roost-proxy", took(), "%s", d.url)
	return nil
}

func (d *demo) apply(ctx context.Context, apps *manifest) error {
	took := stopwatch()
	// As it is where possible: what a user would type.
	args, stdin := []string{"apply", apps.path}, io.Reader(nil)
	if apps.changed {
		text, err := apps.text()
		if err != nil {
			return err
		}
		args, stdin = []string{"apply", "-", "--base-dir", d.examples}, strings.NewReader(text)
	}
	if _, err := d.ctl(ctx, stdin, args...); err != nil {
		return err
	}
	d.timed("roostctl apply", took(), "%s", applied(apps))
	return nil
}

// applied says what an apply has done, and what it took its time for.
func applied(apps *manifest) string {
	text := fmt.Sprintf("%d apps", apps.len())
	if apps.has("worker") {
		text += "; it waited until the worker, which has no port to be ready by, had run for its min_ready of 2 s"
	}
	return text
}

// wait keeps everything up until the user, or a program, ends it.
func (d *demo) wait(ctx context.Context) error {
	daemon, proxy := d.procs[0], d.procs[1]
	select {
	case <-ctx.Done():
		return nil
	case <-daemon.exited:
		return daemon.failure("ended by itself")
	case <-proxy.exited:
		return proxy.failure("ended by itself")
	}
}

// takeDown ends what was started, last first, and removes what was written.
func (d *demo) takeDown() error {
	took := stopwatch()
	var errs []error
	for _, p := range slices.Backward(d.procs) {
		errs = append(errs, p.stop())
	}
	errs = append(errs, os.RemoveAll(d.dir))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("take everything down: %w", err)
	}
	d.say("")
	d.timed("take everything down", took(), "apps, keeper, daemon and proxy have ended; %s is removed", d.dir)
	return nil
}

func (d *demo) sayNext() {
	if !d.stay {
		d.say("\nThis is no terminal, so everything ends here. Run it in a terminal, and it stays up for you to try more.")
		return
	}
	ctl := filepath.Join(d.bin, "roostctl")
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, ctl); err == nil && filepath.IsLocal(rel) {
			ctl = rel
		}
	}
	d.say("\nIt stays up until Ctrl-C. Try, in another terminal:\n")
	d.say(`  export ROOSTCTL_DAEMON=%[1]s
  %[2]s ls                        # the apps, and what each is doing
  %[2]s logs -f worker            # an app's output, as it wrote it
  %[2]s recycle hello-go          # a new process for it; no request is lost
  %[2]s stop hello-go             # 503 until: %[2]s start hello-go
  %[2]s events -f                 # what happens, as it happens
  curl -i %[3]s/python/       # by the proxy; asked at its own port, the app refuses
  curl -N %[3]s/clock/events  # server-sent events
  %[3]s/chat/                 # in two browser windows`, d.daemon(), ctl, d.url)
}

func (d *demo) socket() string { return filepath.Join(d.dir, "run", "roostd.sock") }
func (d *demo) daemon() string { return "unix://" + d.socket() }

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// step and timed print one line of the table of what happened.
func (d *demo) step(what, format string, args ...any) {
	d.say("  %-34s %10s   %s", what, "", fmt.Sprintf(format, args...))
}

func (d *demo) timed(what string, took time.Duration, format string, args ...any) {
	d.say("  %-34s %7.1f ms   %s", what, took.Seconds()*1000, fmt.Sprintf(format, args...))
}

// stopwatch returns what tells the time since now.
func stopwatch() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
