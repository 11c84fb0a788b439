package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

// readOptions are the flags that logs and events have in common.
type readOptions struct {
	follow bool
	tail   int32
	since  string
	cursor string
}

func (o *readOptions) flags(c *cobra.Command, what string) {
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes, until Ctrl-C")
	f.Int32VarP(&o.tail, "tail", "n", 0, "begin this many "+what+" before the end (default: at the beginning)")
	f.StringVar(&o.since, "since", "", "leave out what is older: 10m, or a time such as 2006-01-02T15:04:05Z")
	f.StringVar(&o.cursor, "cursor", "", "go on after this cursor, as -o json prints it")
}

func (o *readOptions) tailOf(c *cobra.Command) (*int32, error) {
	if o.tail < 0 {
		return nil, usage("--tail %d is negative: give a number, or 0 for only what comes", o.tail)
	}
	if !c.Flags().Changed("tail") {
		return nil, nil
	}
	return &o.tail, nil
}

func (p *program) logsCommand() *cobra.Command {
	var o readOptions
	var instance, stream string
	c := &cobra.Command{
		Use:   "logs APP",
		Short: "Print what an app wrote",
		Long: `Logs prints the bytes that an app wrote to stdout and stderr, as they were, in the
order of time. -o json prints an object a line, with time, instance, stream, cursor
and the line as data (what is not UTF-8 in it is replaced).`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
	}
	o.flags(c, "lines")
	c.Flags().StringVar(&instance, "instance", "", "only of this instance")
	c.Flags().StringVar(&stream, "stream", "", "only stdout or stderr")
	p.complete(c, "instance", p.instanceIDs)
	p.complete(c, "stream", fixed("stdout", "stderr"))
	c.RunE = p.run(func(ctx context.Context, args []string) error {
		since, err := sinceTime(o.since, time.Now())
		if err != nil {
			return err
		}
		req := &roostv1.ReadLogsRequest{App: args[0], Instance: instance, Since: since, Cursor: o.cursor, Follow: o.follow}
		if req.Stream, err = streamOf(stream); err != nil {
			return err
		}
		if req.Tail, err = o.tailOf(c); err != nil {
			return err
		}
		return p.readLogs(ctx, req)
	})
	return c
}

func streamOf(s string) (roostv1.LogStream, error) {
	switch s {
	case "":
		return roostv1.LogStream_LOG_STREAM_UNSPECIFIED, nil
	case "stdout":
		return roostv1.LogStream_LOG_STREAM_STDOUT, nil
	case "stderr":
		return roostv1.LogStream_LOG_STREAM_STDERR, nil
	}
	return 0, usage("--stream %q is neither stdout nor stderr", s)
}

func (p *program) readLogs(ctx context.Context, req *roostv1.ReadLogsRequest) error {
	if p.format == render.FormatName {
		return usage("-o name has no meaning for logs: use table, json or yaml")
	}
	stream, err := p.logs().ReadLogs(ctx, req)
	if err != nil {
		return err
	}
	some := false
	for {
		resp, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			if !some {
				p.note("nothing: %s", p.silence(ctx, req))
			}
			return nil
		case err != nil:
			return p.streamEnd(ctx, req.GetFollow(), err)
		}
		if d := resp.GetDropped(); d != nil {
			p.note("roostctl: %s", missing(d))
		}
		for _, e := range resp.GetBatch().GetEntries() {
			some = true
			if err := p.logEntry(e); err != nil {
				return err
			}
		}
	}
}

// missing says what a reader of logs has missed. Of what was deleted nobody can count
// the lines.
func missing(d *roostv1.LogDropped) string {
	if d.GetLines() > 0 {
		return fmt.Sprintf("%d lines (%d bytes) are missing here: this reader was too slow", d.GetLines(), d.GetBytes())
	}
	return fmt.Sprintf("%d bytes are missing here: they were deleted (logs.max_files) before they were read", d.GetBytes())
}

func (p *program) logEntry(e *roostv1.LogEntry) error {
	if done, err := render.Item(p.Stdout, p.format, e); done {
		return err
	}
	_, err := p.Stdout.Write(e.GetData())
	return err
}

// silence says why there is nothing to read and what to do.
func (p *program) silence(ctx context.Context, req *roostv1.ReadLogsRequest) string {
	if req.GetSince() != nil || req.GetCursor() != "" || req.GetInstance() != "" || req.GetStream() != 0 || req.Tail != nil {
		return req.GetApp() + " wrote nothing that the flags let through"
	}
	resp, err := p.instances().ListInstances(ctx, &roostv1.ListInstancesRequest{App: req.GetApp(), IncludeExited: true})
	if err == nil && len(resp.GetInstances()) == 0 {
		return req.GetApp() + " has not run yet: its first request starts it, or \"roostctl start " + req.GetApp() + "\""
	}
	if slices.ContainsFunc(resp.GetInstances(), func(i *roostv1.Instance) bool { return i.GetOutputTail() != "" }) {
		return "what " + req.GetApp() + " wrote is no longer kept"
	}
	return req.GetApp() + " has written nothing"
}

// streamEnd is nil where a follower asked for the end itself.
func (p *program) streamEnd(ctx context.Context, follow bool, err error) error {
	err = cause(ctx, err)
	if follow && (errors.Is(err, errInterrupted) || timedOut(err)) {
		return nil
	}
	return err
}
