package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

type upOptions struct {
	file   string
	listen []string
}

func (p *program) upCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Develop: daemon, proxy and a manifest's apps in this terminal",
		Long: `Up starts a daemon and a proxy of its own, applies a manifest, and prints what the
apps write, each line with its app before it. Ctrl-C stops all and leaves nothing
running; a second one kills. The state is kept in ./.roost, with the logs.`,
		Args: takes(0, 0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVarP(&o.file, "file", "f", ".", "the manifest, or a folder that has a roost.yaml")
	c.Flags().StringArrayVar(&o.listen, "listen", []string{":8080"}, "where the proxy serves; repeatable, :0 picks a port")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if c.Flags().Changed("daemon") {
			return usage("up starts a daemon of its own: take --daemon out, or use roostctl apply")
		}
		return p.up(c.Context(), o)
	}
	return c
}

// upWithin is how long daemon and proxy may take until they listen.
const upWithin = 15 * time.Second

// session is one run of up.
type session struct {
	*program
	out     *console
	dirs    upDirs
	roostd  string // the programs
	proxyd  string
	daemond *child
	proxy   *child
	began   time.Time
}

func (p *program) up(ctx context.Context, o upOptions) error {
	src, err := p.readSources(ctx, []string{o.file}, "", importOptions{})
	if err != nil {
		return err
	}
	if len(src.faults) > 0 {
		return p.printFaults(src, exitUsage)
	}
	if err := portsFree(ctx, o.listen); err != nil {
		return err
	}
	s := &session{program: p, out: p.newConsole(src.specs), began: time.Now()}
	if err := s.findPrograms(); err != nil {
		return err
	}
	if s.dirs, err = p.makeUpDirs(); err != nil {
		return err
	}
	defer s.dirs.close()
	return s.run(ctx, src, o.listen)
}

// run starts everything, shows it until ctx ends or a part dies, and stops it.
func (s *session) run(ctx context.Context, src *sources, listen []string) error {
	s.patient.Store(true)
	// What is printed comes by streams that outlive ctx, so that the last words of
	// apps that are being stopped are seen.
	streams, cut := context.WithCancel(context.WithoutCancel(ctx))
	var shown *watcher
	err := s.begin(ctx, listen)
	if err == nil {
		shown = s.watch(streams)
		err = s.install(ctx, src)
	}
	if err == nil {
		err = s.until(ctx)
	}
	switch {
	case ctx.Err() != nil:
		err = nil // Ctrl-C is how it ends
	case err != nil:
		err = s.blame(err)
	}
	stopErr := s.stop()
	cut()
	if shown != nil {
		shown.wait()
	}
	s.out.flush()
	return errors.Join(err, stopErr)
}

// begin starts daemon and proxy and waits until both listen.
func (s *session) begin(ctx context.Context, listen []string) error {
	if err := s.startDaemon(); err != nil {
		return err
	}
	if _, err := s.daemond.listening(ctx, upWithin); err != nil {
		return err
	}
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
	s.flags.daemon = "unix://" + s.dirs.socket
	if err := s.dial(); err != nil {
		return err
	}
	args := []string{"--daemon", s.flags.daemon, "--state-dir", s.dirs.proxyState, "--log-format", "json", "--access-log", "off",
		"--drain-timeout", "2s"} // who presses Ctrl-C does not wait for an open page
	for _, l := range listen {
		args = append(args, "--listen", l)
	}
	s.proxy = s.newChild("roost-proxy")
	if err := s.proxy.start(s.proxyd, args); err != nil {
		return err
	}
	if _, err := s.proxy.listening(ctx, upWithin); err != nil {
		return err
	}
	return s.proxyKnown(ctx)
}

// proxyKnown waits until the daemon knows the proxy: what is applied before that
// is complete without it, and a first request would find no route.
func (s *session) proxyKnown(ctx context.Context) error {
	const every = 5 * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, upWithin, errors.New("the proxy does not reach the daemon: see .roost/roost-proxy.log"))
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		info, err := s.system().GetInfo(ctx, &roostv1.GetInfoRequest{})
		if err == nil && slices.ContainsFunc(info.GetProxies(), (*roostv1.ProxyInfo).GetConnected) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (s *session) startDaemon() error {
	s.daemond = s.newChild("roostd")
	return s.daemond.start(s.roostd, []string{"--socket", s.dirs.socket, "--state-dir", s.dirs.daemonState, "--log-format", "json"})
}

// install makes the manifest's apps the only ones, and says where they are.
func (s *session) install(ctx context.Context, src *sources) error {
	had, err := s.apps().ListApps(ctx, &roostv1.ListAppsRequest{})
	if err != nil {
		return err
	}
	resp, err := s.apps().ApplyApps(ctx, &roostv1.ApplyAppsRequest{Specs: src.specs, Manifest: src.name})
	if err != nil {
		return s.refused(ctx, src, err)
	}
	s.warn(src, resp)
	for _, a := range had.GetApps() {
		if !slices.ContainsFunc(src.specs, func(spec *roostv1.AppSpec) bool { return spec.GetName() == a.GetName() }) {
			if _, err := s.apps().DeleteApp(ctx, &roostv1.DeleteAppRequest{Name: a.GetName()}); err != nil {
				return err
			}
		}
	}
	if err := s.routed(ctx, src.specs, resp); err != nil {
		return err
	}
	s.welcome(src.specs)
	return nil
}

// routed waits until the proxy has the routes of the apps that a request starts: who
// reads where one is asks for it at once. What boots is shown as it comes.
func (s *session) routed(ctx context.Context, specs []*roostv1.AppSpec, resp *roostv1.ApplyAppsResponse) error {
	for i, spec := range specs {
		id := resp.GetResults()[i].GetRolloutId()
		if id == "" || len(spec.GetRoutes()) == 0 || spec.GetStart().GetWhen() == roostv1.StartWhen_START_WHEN_BOOT {
			continue
		}
		ended := func(*roostv1.Rollout) {}
		if err := s.watchOnce(ctx, pending{app: spec.GetName(), id: id}, ended); err != nil {
			return err
		}
	}
	return nil
}

// welcome says where each app is and how to reach this daemon.
func (s *session) welcome(specs []*roostv1.AppSpec) {
	for _, spec := range specs {
		urls := urlsOf(spec, s.proxy.address())
		switch {
		case len(urls) > 0:
			s.out.say(render.Bold, "%s is at %s", spec.GetName(), strings.Join(urls, " and "))
		case spec.GetListen().GetMode() == roostv1.ListenMode_LISTEN_MODE_NONE:
			s.out.say(render.Plain, "%s is a worker", spec.GetName())
		default:
			s.out.say(render.Plain, "%s has no route: no request reaches it", spec.GetName())
		}
	}
	s.out.say(render.Dim, "in another terminal: export ROOSTCTL_DAEMON=%s", s.flags.daemon)
	s.out.say(render.Dim, "Ctrl-C stops all")
}

// until returns nil when ctx ends, and an error when daemon or proxy does.
func (s *session) until(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.daemond.done:
		s.daemond.settle()
		return s.daemond.died()
	case <-s.proxy.done:
		s.proxy.settle()
		return s.proxy.died()
	}
}

// blame names the daemon's death where that is why a call to it failed.
func (s *session) blame(err error) error {
	if _, ok := errors.AsType[*failure](err); ok || s.daemond == nil || s.daemond.cmd == nil {
		return err
	}
	select {
	case <-s.daemond.done:
		s.daemond.settle()
		return s.daemond.died()
	case <-time.After(100 * time.Millisecond): // its sockets close a moment before it is gone
		return err
	}
}

// urlsOf are the URLs of an app's routes at the proxy's address.
func urlsOf(spec *roostv1.AppSpec, address string) []string {
	at, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	if ip := net.ParseIP(at); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		at = "localhost"
	}
	var urls []string
	for _, r := range spec.GetRoutes() {
		host, path := r.GetHost(), r.GetPath()
		if host == "" {
			host = at
		}
		if path == "" {
			path = "/"
		}
		if port != "80" {
			host = net.JoinHostPort(host, port)
		}
		urls = append(urls, "http://"+host+path)
	}
	return urls
}

// portsFree says which port is taken before anything is started.
func portsFree(ctx context.Context, listen []string) error {
	for _, address := range listen {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			_ = l.Close()
			continue
		}
		_, port, perr := net.SplitHostPort(address)
		switch {
		case perr != nil:
			return usage("--listen %q is not an address: write :8080 or 127.0.0.1:8080", address)
		case errors.Is(err, syscall.EADDRINUSE):
			return failed(exitFailed, "port %s is in use by another program: end that, or choose another with --listen :PORT", port)
		case errors.Is(err, syscall.EACCES):
			return failed(exitNotPermitted, "port %s is only root's to listen on: choose one above 1023 with --listen :PORT", port)
		}
		return failed(exitFailed, "cannot listen on %s: %v", address, err)
	}
	return nil
}

// died says that a part ended which should not have.
func (c *child) died() error {
	what := "has died"
	if c.address() == "" {
		what = "did not start"
	}
	if c.fault() != "" {
		return failed(exitFailed, "%s %s (%s): %s", c.name, what, c.how(), c.fault())
	}
	return failed(exitFailed, "%s %s (%s)", c.name, what, c.how())
}

func (c *child) how() string {
	if c.err == nil {
		return "exit status 0"
	}
	return fmt.Sprint(c.err)
}
