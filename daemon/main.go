// Command roostd is Roost's control plane: the API, the policy, and the desired
// state of every app. `roostd keeper`, which it starts itself, is the parent of
// their processes and outlives it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roostd/roost/daemon/internal/failpoint"
	"github.com/roostd/roost/daemon/internal/keeper"
	"github.com/roostd/roost/internal/rpc"
	"github.com/roostd/roost/internal/units"
)

// version is set by the linker.
var version = "devel"

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// errFailed marks what is no fault of the command line, and was logged.
var errFailed = errors.New("")

// gcPercent has the collector run after half the usual growth, in the daemon and in
// the keeper. Both rest most of the time, beside apps that want the memory, and live
// from little that lasts; a burst of work leaves holes in the heap as large as it
// grew, which no collection closes. With a thousand apps that is 4 MiB of 50.
const gcPercent = 50

func main() {
	if failpoint.Enabled {
		failpoint.Arm(os.Getenv("ROOSTD_FAILPOINT"))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	err := command().Execute()
	switch {
	case errors.Is(err, errFailed):
		os.Exit(exitFailed)
	case err != nil:
		fmt.Fprintf(os.Stderr, "roostd: %v\n", err)
		os.Exit(exitUsage)
	}
}

// logFlags are those of every long-lived command.
type logFlags struct{ level, format string }

func (f *logFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.level, "log-level", "info", "trace, debug, info, warn or error")
	fs.StringVar(&f.format, "log-format", "text", "text or json")
}

func (f *logFlags) logger(name string) (hclog.Logger, error) {
	level := hclog.LevelFromString(f.level)
	if level == hclog.NoLevel {
		return nil, fmt.Errorf("--log-level: %q is none of trace, debug, info, warn, error", f.level)
	}
	if f.format != "text" && f.format != "json" {
		return nil, fmt.Errorf("--log-format: %q is neither text nor json", f.format)
	}
	return hclog.New(&hclog.LoggerOptions{
		Name: name, Level: level, JSONFormat: f.format == "json", Output: os.Stderr,
	}), nil
}

// flags is the command line as it is written.
type flags struct {
	config
	logFlags
	ports    string
	logTotal string
}

func command() *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "roostd",
		Short: "The daemon of Roost: starts apps, keeps them alive, and tells proxies where they are",
		Long: `The daemon of Roost: starts apps, keeps them alive, and tells proxies where they are.

Each flag is also an environment variable, ROOSTD_ and the flag's name in upper
case with _ for -; the flag wins.

SIGINT or SIGTERM drains and stops every app and ends; a second one kills them
at once. With --detach-on-exit the apps are left running, under the keeper.`,
		Args: cobra.NoArgs, Version: buildVersion(),
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(fromEnvironment(c.Flags()), f.parse()); err != nil {
				return err
			}
			return f.run(c.Context())
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.socket, "socket", defaultSocket(), "`path` of the socket to serve the API at")
	fs.StringVar(&f.stateDir, "state-dir", defaultStateDir(), "`folder` of all that must survive a restart")
	fs.StringVar(&f.logDir, "log-dir", "", "`folder` of what apps write (default: "+rootLogDir+" for root with the default state dir, else logs in the state dir)")
	fs.StringVar(&f.ports, "port-range", "20000-29999", "the loopback `ports` given to apps")
	fs.StringVar(&f.appUser, "app-user", "roost-app", "the `user` of apps that name none, where roostd is root and the account exists")
	fs.StringVar(&f.proxyGroup, "proxy-group", "roost-proxy", "the `group` of proxies")
	fs.BoolVar(&f.detachOnExit, "detach-on-exit", false, "leave apps running when roostd is told to end")
	fs.IntVar(&f.startParallelism, "start-parallelism", 2*runtime.NumCPU(), "how many instances may be starting at once")
	fs.StringVar(&f.logTotal, "log-max-total", "", "the most `bytes` of output that all apps together keep on disk, such as 2GiB (default: 10 % of the file system, at most 4GiB)")
	f.add(fs)
	c.AddCommand(keeperCommand(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), buildVersion()) },
	})
	c.CompletionOptions.DisableDefaultCmd = true
	return c
}

// keeperCommand is what roostd starts itself as.
func keeperCommand() *cobra.Command {
	var cfg keeper.Config
	var logs logFlags
	c := &cobra.Command{
		Use: "keeper", Short: "The parent of all apps' processes; roostd starts it itself",
		Args: cobra.NoArgs, Hidden: true,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if cfg.Log, err = logs.logger("keeper"); err != nil {
				return err
			}
			cfg.Version = buildVersion()
			if err := keeper.Run(c.Context(), cfg); err != nil {
				cfg.Log.Error("failed", "error", err)
				return errFailed
			}
			return nil
		},
	}
	fs := c.Flags()
	fs.StringVar(&cfg.StateDir, "state-dir", "", "the daemon's")
	fs.StringVar(&cfg.LogDir, "log-dir", "", "the daemon's")
	fs.StringVar(&cfg.Exec, "exec", "", "path of roost-exec")
	fs.StringVar(&cfg.LogGroup, "log-group", "", "the group that may read logs")
	logs.add(fs)
	return c
}

// fromEnvironment sets the flags that are not on the command line. An empty
// variable counts as none.
func fromEnvironment(fs *pflag.FlagSet) error {
	var faults []error
	fs.VisitAll(func(f *pflag.Flag) {
		name := "ROOSTD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := os.Getenv(name)
		if value == "" || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	})
	return errors.Join(faults...)
}

func defaultSocket() string {
	return rpc.Sockets{UID: os.Getuid(), RuntimeDir: os.Getenv("XDG_RUNTIME_DIR")}.Listen()
}

func defaultStateDir() string {
	if os.Getuid() == 0 {
		return rootStateDir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "roost")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "roost")
}

// parse makes a config of the flags' words. Folders become absolute: apps and the
// keeper live in others.
func (f *flags) parse() (err error) {
	switch {
	case f.stateDir == "":
		return errors.New("--state-dir: none is given, and this user has no home folder: name one")
	case f.socket == "":
		return errors.New("--socket: it has no path: name one")
	}
	if f.startParallelism < 1 {
		return fmt.Errorf("--start-parallelism: %d is too few: at least 1", f.startParallelism)
	}
	if f.portLow, f.portHigh, err = parsePorts(f.ports); err != nil {
		return fmt.Errorf("--port-range: %w", err)
	}
	if f.logTotal != "" {
		if f.logMaxTotal, err = units.ParseSize(f.logTotal); err != nil {
			return fmt.Errorf("--log-max-total: %q: %w", f.logTotal, err)
		}
		if f.logMaxTotal < leastLogTotal {
			return fmt.Errorf("--log-max-total: %s is too little: at least %s", f.logTotal, units.FormatSize(leastLogTotal))
		}
	}
	if f.logDir == "" {
		f.logDir = defaultLogDir(filepath.Clean(f.stateDir), os.Getuid())
	}
	for _, path := range []*string{&f.socket, &f.stateDir, &f.logDir} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if _, err := rpc.SocketPath("unix://" + f.socket); err != nil {
		return fmt.Errorf("--socket: %w", err)
	}
	f.logLevel, f.logFormat = f.level, f.format
	f.log, err = f.logger("roostd")
	return err
}

// run runs the daemon until a signal ends it; a second one hurries that.
func (f *flags) run(ctx context.Context) error {
	var err error
	if f.program, err = os.Executable(); err != nil {
		return err
	}
	syscall.Umask(0o022) // modes are what they are said to be, whoever started this
	f.version, f.uid, f.gid = buildVersion(), os.Geteuid(), os.Getegid()
	f.env = map[string]string{}
	for _, name := range []string{"PATH", "LANG", "TZ", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			f.env[name] = value
		}
	}
	f.notify = func(state string) {
		if _, err := sdnotify.SdNotify(false, state); err != nil {
			f.log.Warn("the service manager cannot be told", "state", state, "error", err)
		}
	}
	ctx, hurry := signals(ctx)
	f.hurry = hurry
	if err := run(ctx, f.config); err != nil {
		f.log.Error("failed", "error", err)
		return errFailed
	}
	return nil
}

// signals returns a context that the first signal ends, and what the second one closes.
func signals(ctx context.Context) (context.Context, <-chan struct{}) {
	ctx, cancel := context.WithCancelCause(ctx)
	hurry := make(chan struct{})
	received := make(chan os.Signal, 2)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(fmt.Errorf("received %v", <-received))
		<-received
		close(hurry)
	}()
	return ctx, hurry
}

// buildVersion is the linker's version, else that of the module.
func buildVersion() string {
	if version != "devel" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}
