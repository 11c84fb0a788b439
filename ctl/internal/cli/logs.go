package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) logsCommand() *cobra.Command {
	var o readOptions
	var stream string
	var generation int64
	c := &cobra.Command{
		Use:   "logs APP",
		Short: "Print what an app wrote",
		Long: `Logs prints the bytes that an app wrote to stdout and stderr, as they were, in the
order of time. -o json prints an object a line, with time, instance, stream, cursor
and the line as data (what is not UTF-8 in it is replaced).

With -f it goes on across restarts of the app and of the daemon, and ends when the
app is removed. What was deleted before it could be read is told on stderr.`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
	}
	o.flags(c, "lines", "text")
	c.Flags().StringVar(&stream, "stream", "", "only stdout or stderr")
	c.Flags().Int64Var(&generation, "generation", 0, "only of instances of this generation, see roostctl history")
	p.complete(c, "instance", p.instanceIDs)
	p.complete(c, "stream", fixed("stdout", "stderr"))
	c.RunE = p.run(func(ctx context.Context, args []string) error {
		since, until, err := o.times()
		if err != nil {
			return err
		}
		if generation < 0 {
			return usage("--generation %d is negative: see roostctl history %s", generation, args[0])
		}
		req := &roostv1.ReadLogsRequest{
			App: args[0], Instance: o.instance, Generation: generation, Since: since, Until: until, Grep: o.grep,
			Cursor: o.cursor, Follow: o.follow, Lossless: o.lossless,
		}
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
	req = proto.CloneOf(req)
	some := false
	err := p.goOn(ctx, req.GetFollow(), func() (func() error, error) {
		stream, err := p.logs().ReadLogs(ctx, req)
		return func() error {
			resp, err := stream.Recv()
			if err != nil {
				return err
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
			if c := resp.GetCursor(); c != "" {
				req.Cursor, req.Tail = c, nil
			}
			return nil
		}, err
	})
	if err == nil && !some && !req.GetFollow() {
		p.note("nothing: %s", p.silence(ctx, req))
	}
	return err
}

// missing says what a reader of logs has missed. Of what was deleted nobody can count
// the lines.
func missing(d *roostv1.LogDropped) string {
	if d.GetBytes() == 0 {
		return "what instance " + d.GetInstance() + " wrote last may be missing here: nothing of it is kept any more (logs.max_files)"
	}
	lines := ""
	if d.GetLines() > 0 {
		lines = fmt.Sprintf(" (%d lines)", d.GetLines())
	}
	return fmt.Sprintf("%d bytes%s are missing here: they were deleted (logs.max_files) before they were read, or could not be written", d.GetBytes(), lines)
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
	if req.GetSince() != nil || req.GetUntil() != nil || req.GetGrep() != "" || req.GetCursor() != "" ||
		req.GetInstance() != "" || req.GetGeneration() != 0 || req.GetStream() != 0 || req.Tail != nil {
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
