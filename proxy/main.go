// Command roost-proxy is Roost's data plane: it takes requests, has the daemon
// start the apps that they are for, and forwards them. It starts nothing itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roostd/roost/internal/rpc"
	"github.com/roostd/roost/proxy/internal/certs"
	"github.com/roostd/roost/proxy/internal/observe"
)

// version is set by the linker.
var version = "devel"

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// patience is as long as a request waits for the daemon elsewhere.
const patience = 10 * time.Second

// errFailed marks what is no fault of the command line.
var errFailed = errors.New("")

func main() {
	err := command(&flags{}).Execute()
	switch {
	case errors.Is(err, errFailed):
		os.Exit(exitFailed)
	case err != nil:
		fmt.Fprintf(os.Stderr, "roost-proxy: %v\n", err)
		os.Exit(exitUsage)
	}
}

// flags is the command line as it is written.
type flags struct {
	config
	trusted             []string
	clientAuth          string
	format              string
	logLevel, logFormat string
}

// command is the command line, whose flags go to f.
func command(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "roost-proxy",
		Short: "The proxy of Roost: holds and forwards the requests of the apps that roostd runs",
		Long: `The proxy of Roost: holds and forwards the requests of the apps that roostd runs.

Each flag is also an environment variable, ROOST_PROXY_ and the flag's name in
upper case with _ for -; the flag wins. Lists are separated by commas.

SIGTERM finishes what is open and ends; a second one ends at once.
SIGHUP opens the access log anew.`,
		Args: cobra.NoArgs, Version: version,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := fromEnvironment(c.Flags()); err != nil {
				return err
			}
			if err := f.parse(); err != nil {
				return err
			}
			return f.run(c.Context())
		},
	}
	c.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), version) },
	})
	c.CompletionOptions.DisableDefaultCmd = true
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringSliceVar(&f.listen, "listen", []string{":8080"}, "`address` to serve HTTP at; may be repeated")
	fs.StringSliceVar(&f.listenTLS, "listen-tls", nil, "`address` to serve HTTPS at; may be repeated")
	fs.StringVar(&f.certDir, "cert-dir", "", "`folder` of <host>.pem and <host>.key; default.pem is for all other hosts")
	fs.StringVar(&f.clientCA, "client-ca", "", "`file` with what certificates of clients are verified against")
	fs.StringVar(&f.clientAuth, "client-auth", string(certs.Request), "request: apps get the certificate that a client has; require: it must be good; off")
	fs.StringVar(&f.daemon, "daemon", "", "the daemon's socket, unix:///`path` (default: this user's, else the system's)")
	fs.StringVar(&f.stateDir, "state-dir", defaultStateDir(), "`folder` for what must survive a restart, one for each proxy")
	fs.StringSliceVar(&f.trusted, "trusted-proxies", nil, "`CIDRs` of proxies in front whose forwarding headers are believed")
	fs.DurationVar(&f.drainTimeout, "drain-timeout", 30*time.Second, "how long open requests may go on after SIGTERM")
	fs.StringVar(&f.accessLog, "access-log", "off", "off, - for standard output, or a `path`")
	fs.StringVar(&f.format, "access-log-format", "json", "json or combined")
	fs.StringVar(&f.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	return c
}

// fromEnvironment sets the flags that are not on the command line.
func fromEnvironment(fs *pflag.FlagSet) error {
	var faults []error
	fs.VisitAll(func(f *pflag.Flag) {
		name := "ROOST_PROXY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		// --help and --version are cobra's, and no settings: images often say
		// ROOST_PROXY_VERSION and mean something else.
		if !ok || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	})
	return errors.Join(faults...)
}

func defaultStateDir() string {
	if os.Getuid() == 0 {
		return "/var/lib/roost-proxy"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "roost-proxy")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "roost-proxy")
}

// parse makes a config of the flags' words.
func (f *flags) parse() error {
	for _, s := range f.trusted {
		p, err := parsePrefix(s)
		if err != nil {
			return fmt.Errorf("--trusted-proxies: %q is neither an address nor a CIDR", s)
		}
		f.trustedProxies = append(f.trustedProxies, p)
	}
	for _, s := range f.listen {
		if err := checkAddress(s); err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
	}
	if err := f.parseTLS(); err != nil {
		return err
	}
	switch {
	case len(f.listen)+len(f.listenTLS) == 0:
		return errors.New("--listen: name at least one address")
	case f.stateDir == "":
		return errors.New("--state-dir: this user has no home folder: name one")
	case f.drainTimeout < 0:
		return errors.New("--drain-timeout: it must not be negative")
	case f.format != string(observe.JSON) && f.format != string(observe.Combined):
		return fmt.Errorf("--access-log-format: %q is neither json nor combined", f.format)
	case f.logFormat != "text" && f.logFormat != "json":
		return fmt.Errorf("--log-format: %q is neither text nor json", f.logFormat)
	}
	if f.daemon != "" {
		if _, err := rpc.SocketPath(f.daemon); err != nil {
			return fmt.Errorf("--daemon: %w", err)
		}
	}
	level := hclog.LevelFromString(f.logLevel)
	if level == hclog.NoLevel {
		return fmt.Errorf("--log-level: %q is none of trace, debug, info, warn, error", f.logLevel)
	}
	f.accessLogFormat = observe.Format(f.format)
	f.log = hclog.New(&hclog.LoggerOptions{
		Name: "roost-proxy", Level: level, JSONFormat: f.logFormat == "json", Output: os.Stderr,
	})
	return nil
}

// parseTLS checks what is about TLS.
func (f *flags) parseTLS() error {
	for _, s := range f.listenTLS {
		if err := checkAddress(s); err != nil {
			return fmt.Errorf("--listen-tls: %w", err)
		}
	}
	f.config.clientAuth = certs.ClientAuth(f.clientAuth)
	switch f.config.clientAuth {
	case certs.Off, certs.Request, certs.Require:
	default:
		return fmt.Errorf("--client-auth: %q is none of request, require, off", f.clientAuth)
	}
	switch {
	case len(f.listenTLS) > 0 && f.certDir == "":
		return errors.New("--listen-tls: it needs certificates: name their folder with --cert-dir")
	case f.config.clientAuth == certs.Require && f.clientCA == "":
		return errors.New("--client-auth require: name the file with what to verify against with --client-ca")
	case len(f.listenTLS) == 0 && f.certDir != "":
		return errors.New("--cert-dir: nothing is served by TLS: name an address with --listen-tls")
	case len(f.listenTLS) == 0 && f.clientCA != "":
		return errors.New("--client-ca: nothing is served by TLS: name an address with --listen-tls")
	}
	return nil
}

// checkAddress refuses what can be no address to listen at, so that it is told as
// a fault of the command line.
func checkAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil && port != "" {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || port == "" {
		return fmt.Errorf("%q is no address: write host:port or :port, such as 127.0.0.1:8080 or :8080", s)
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// run runs the proxy until a signal ends it; the second one does so at once.
func (f *flags) run(ctx context.Context) error {
	f.version = version
	f.sockets = rpc.Sockets{UID: os.Getuid(), RuntimeDir: os.Getenv("XDG_RUNTIME_DIR")}
	f.stdout = os.Stdout
	f.patience = patience
	reopen := make(chan os.Signal, 1)
	signal.Notify(reopen, syscall.SIGHUP)
	f.reopen = reopen

	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from now on a signal does what it does by default
	if err := run(ctx, f.config); err != nil {
		f.log.Error("failed", "error", err)
		return errFailed
	}
	return nil
}
