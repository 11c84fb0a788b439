package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

// options are the flags that every command takes.
type options struct {
	daemon  string
	output  string
	noWait  bool
	timeout time.Duration
}

const (
	groupApps   = "apps"
	groupLook   = "look"
	groupSystem = "system"
)

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "roostctl",
		Short: "Host web apps: start on request, keep alive, deploy without dropping one",
		Long: `roostctl talks to roostd, which hosts web apps: it starts an app at its first
request, keeps it alive, and replaces it without dropping a request.

Write a roost.yaml and say "roostctl apply", or "roostctl up" to develop with
daemon, proxy and apps in this one terminal.`,
		Version:       p.Version,
		SilenceErrors: true, SilenceUsage: true,
		Args:              cobra.ArbitraryArgs,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return p.prepare(c) },
		RunE:              p.noVerb,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(p.flagError)
	root.AddGroup(&cobra.Group{ID: groupApps, Title: "Change apps:"},
		&cobra.Group{ID: groupLook, Title: "Look at them:"}, &cobra.Group{ID: groupSystem, Title: "The daemon:"})
	root.SetHelpCommandGroupID(groupSystem)
	root.SetCompletionCommandGroupID(groupSystem)
	f := root.PersistentFlags()
	f.StringVar(&p.flags.daemon, "daemon", "", "daemon's socket, unix:///path or a path (default: yours, else the system's)")
	f.StringVarP(&p.flags.output, "output", "o", string(render.FormatTable), "table, wide, json, yaml or name")
	f.BoolVar(&p.flags.noWait, "no-wait", false, "do not wait until what was changed is true")
	f.DurationVar(&p.flags.timeout, "timeout", 0, "give up waiting after this long; the change goes on (default: never)")
	p.complete(root, "output", fixed("table", "wide", "json", "yaml", "name"))
	p.addCommands(root)
	root.InitDefaultHelpCmd()
	help, _, _ := root.Find([]string{"help"})
	help.Args = func(_ *cobra.Command, args []string) error {
		if about, _, _ := root.Find(args); len(args) > 0 && about == root {
			return unknownVerb(root, args[0])
		}
		return nil
	}
	return root
}

func (p *program) addCommands(root *cobra.Command) {
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			c.DisableFlagsInUseLine = true
			root.AddCommand(c)
		}
	}
	add(groupApps, p.applyCommand(), p.startCommand(), p.stopCommand(), p.offlineCommand(), p.onlineCommand(), p.recycleCommand(), p.scaleCommand(),
		p.rollbackCommand(), p.rmCommand(), p.signalCommand(), p.upCommand())
	add(groupLook, p.lsCommand(), p.getCommand(), p.psCommand(), p.logsCommand(), p.eventsCommand(), p.historyCommand())
	add(groupSystem, p.infoCommand(), p.shutdownCommand(), p.versionCommand())
}

// prepare reads the environment behind the flags and checks them.
func (p *program) prepare(c *cobra.Command) error {
	var err error
	c.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		name := "ROOSTCTL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := p.lookup(name); v != "" && !f.Changed && err == nil {
			if serr := f.Value.Set(v); serr != nil {
				err = usage("%s=%q: %v", name, v, serr)
			}
		}
	})
	if err != nil {
		return err
	}
	if p.format, err = render.ParseFormat(p.flags.output); err != nil {
		return usage("%v", err)
	}
	if p.flags.timeout < 0 {
		return usage("--timeout %s is negative: give a duration such as 30s, or 0 for never", p.flags.timeout)
	}
	return p.dial()
}

// noVerb is the root's own run: help, or the verb that was most likely meant.
func (p *program) noVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	return unknownVerb(c, args[0])
}

func unknownVerb(root *cobra.Command, verb string) error {
	known := []string{"help"}
	for _, c := range root.Commands() {
		if !c.Hidden {
			known = append(append(known, c.Name()), c.Aliases...)
		}
	}
	if near := manifest.Nearest(verb, known); near != "" {
		return usage("unknown command %q: did you mean %q?", verb, near)
	}
	return usage("unknown command %q: see roostctl help", verb)
}

func (p *program) flagError(c *cobra.Command, err error) error {
	if !c.HasParent() && len(p.Args) > 0 && !strings.HasPrefix(p.Args[0], "-") {
		return unknownVerb(c, p.Args[0]) // its flags belong to a command that is not there
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usage("--%s %q is not %s: see %s --help", e.GetFlag().Name, e.GetValue(), kindOf(e.GetFlag()), c.CommandPath())
	}
	return usage("%v: see %s --help", err, c.CommandPath())
}

// kindOf says what a flag takes.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "a duration such as 30s"
	case "bool":
		return "true or false"
	}
	return "a whole number"
}

// takes checks how many arguments a command is given.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("%s needs more: %s", c.Name(), c.UseLine())
		case len(args) > most:
			return usage("%s does not know what to do with %q: %s", c.Name(), args[most], c.UseLine())
		}
		return nil
	}
}

// run adapts a command's function: arguments, and a context that --timeout ends.
func (p *program) run(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		ctx, cancel := p.limited(c.Context())
		defer cancel()
		return cause(ctx, do(ctx, args))
	}
}

// print writes a result: the message for programs, its name, or what people read.
func (p *program) print(msg proto.Message, name string, people func() error) error {
	if done, err := render.Message(p.Stdout, p.format, msg); done {
		return err
	}
	if p.format == render.FormatName {
		if name != "" {
			fmt.Fprintln(p.Stdout, name)
		}
		return nil
	}
	return people()
}

func (p *program) say(format string, args ...any) { fmt.Fprintf(p.Stdout, format+"\n", args...) }
func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.Stderr, format+"\n", args...)
}

// forPrograms reports whether what is printed is read by a program.
func (p *program) forPrograms() bool {
	return p.format == render.FormatJSON || p.format == render.FormatYAML
}

func (p *program) wide() bool { return p.format == render.FormatWide }
