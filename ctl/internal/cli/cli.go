// Package cli is the command line: one file a command. A command turns flags
// into calls of the API, waits until what it changed is true, and shows the
// answer. Results go to stdout; progress, warnings and errors to stderr.
//
// Everything it knows of the world comes in by Env, so that a test runs it as
// often as it likes.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
	"github.com/roostd/roost/internal/rpc"
)

// Env is what a program gets from the system.
type Env struct {
	Args       []string // without the program's name
	Environ    []string // NAME=VALUE
	Dir        string   // the working folder
	UID        int
	Executable string // this program's own file
	Version    string
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer
	Signals    <-chan os.Signal // what asks it to end; the first cancels the command
}

// program is one run of the command line.
type program struct {
	Env
	flags   options
	format  render.Format
	conn    *grpc.ClientConn
	paint   render.Painter // for stdout
	later   chan os.Signal // signals after the first
	patient atomic.Bool    // the command takes them itself
}

// errInterrupted is the cause of a context that a signal ended, errTimedOut of
// one that --timeout did.
var (
	errInterrupted = errors.New("interrupted")
	errTimedOut    = errors.New("--timeout has passed")
)

// Run runs one command and returns its exit code.
func Run(ctx context.Context, env Env) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &program{Env: env, later: make(chan os.Signal, 4)}
	done := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(done)
	wg.Go(func() { p.takeSignals(done, cancel) })

	p.paint = render.Painter(isTerminal(env.Stdout) && !p.noColor())
	root := p.root()
	root.SetArgs(env.Args)
	err := root.ExecuteContext(ctx)
	if p.conn != nil {
		_ = p.conn.Close()
	}
	return p.report(err)
}

// takeSignals cancels the command at the first signal, until done. The next one
// ends the program, unless the command takes it itself.
func (p *program) takeSignals(done <-chan struct{}, cancel context.CancelCauseFunc) {
	for first := true; ; first = false {
		select {
		case <-done:
			return
		case s := <-p.Signals:
			switch {
			case first:
				cancel(errInterrupted)
			case !p.patient.Load():
				os.Exit(exitFailed)
			default:
				select {
				case p.later <- s:
				default: // enough of them wait already
				}
			}
		}
	}
}

func (p *program) lookup(name string) string {
	for _, e := range p.Environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// noColor follows https://no-color.org, and terminals that know no colours.
func (p *program) noColor() bool { return p.lookup("NO_COLOR") != "" || p.lookup("TERM") == "dumb" }

// daemon is the address that the command's daemon is called at.
func (p *program) daemon() string {
	if p.flags.daemon != "" {
		return p.flags.daemon
	}
	return "unix://" + rpc.Sockets{UID: p.UID, RuntimeDir: p.lookup("XDG_RUNTIME_DIR")}.Dial()
}

// dial makes the connection, which connects at its first call.
func (p *program) dial() error {
	if p.conn != nil {
		return nil
	}
	conn, err := rpc.Dial(p.daemon())
	if err != nil {
		return usage("%v", err)
	}
	p.conn = conn
	return nil
}

func (p *program) apps() roostv1.AppServiceClient { return roostv1.NewAppServiceClient(p.conn) }
func (p *program) instances() roostv1.InstanceServiceClient {
	return roostv1.NewInstanceServiceClient(p.conn)
}
func (p *program) logs() roostv1.LogServiceClient      { return roostv1.NewLogServiceClient(p.conn) }
func (p *program) events() roostv1.EventServiceClient  { return roostv1.NewEventServiceClient(p.conn) }
func (p *program) system() roostv1.SystemServiceClient { return roostv1.NewSystemServiceClient(p.conn) }

// limited returns a context that --timeout ends.
func (p *program) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.flags.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, p.flags.timeout, errTimedOut)
}
