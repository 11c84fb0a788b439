package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

func (p *program) eventsCommand() *cobra.Command {
	var o readOptions
	c := &cobra.Command{
		Use:   "events [APP]",
		Short: "Print what happened: starts, exits, failures, changes and who made them",
		Args:  takes(0, 1), ValidArgsFunction: p.appNames,
	}
	var severity string
	o.flags(c, "events", "message")
	c.Flags().StringVar(&severity, "severity", "", "only info, warning or error, and what is worse")
	p.complete(c, "instance", p.instanceIDs)
	p.complete(c, "severity", fixed("info", "warning", "error"))
	c.RunE = p.run(func(ctx context.Context, args []string) error {
		since, until, err := o.times()
		if err != nil {
			return err
		}
		req := &roostv1.ReadEventsRequest{
			App: strings.Join(args, ""), Instance: o.instance, Since: since, Until: until, Grep: o.grep,
			Cursor: o.cursor, Follow: o.follow, Lossless: o.lossless,
		}
		if req.Severity, err = severityOf(severity); err != nil {
			return err
		}
		if req.Tail, err = o.tailOf(c); err != nil {
			return err
		}
		return p.readEvents(ctx, req)
	})
	return c
}

func (p *program) readEvents(ctx context.Context, req *roostv1.ReadEventsRequest) error {
	req = proto.CloneOf(req)
	some := false
	err := p.goOn(ctx, req.GetFollow(), func() (func() error, error) {
		stream, err := p.events().ReadEvents(ctx, req)
		return func() error {
			resp, err := stream.Recv()
			if err != nil {
				return err
			}
			if d := resp.GetDropped(); d != nil {
				p.note("roostctl: %s", missingEvents(d))
			}
			if e := resp.GetEvent(); e != nil {
				some = true
				if err := p.event(e); err != nil {
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
		p.note("no events")
	}
	return err
}

// missingEvents says what a reader of events has missed.
func missingEvents(d *roostv1.EventsDropped) string {
	if d.GetEvents() == 0 {
		return "events are missing here: they were deleted before they were read, or could not be written"
	}
	return fmt.Sprintf("%d events are missing here: they were deleted before they were read, or could not be written", d.GetEvents())
}

func severityOf(s string) (roostv1.EventSeverity, error) {
	for n := range roostv1.EventSeverity_name {
		if v := roostv1.EventSeverity(n); v != 0 && manifest.EnumText(v) == s {
			return v, nil
		}
	}
	if s != "" {
		return 0, usage("--severity %q is none of info, warning and error", s)
	}
	return 0, nil
}

func (p *program) event(e *roostv1.Event) error {
	if done, err := render.Item(p.Stdout, p.format, e); done {
		return err
	}
	if p.format == render.FormatName {
		p.say("%s", e.GetId())
		return nil
	}
	about := e.GetApp()
	if e.GetInstance() != "" {
		about += "/" + e.GetInstance()
	}
	if about == "" {
		about = "roostd"
	}
	_, err := fmt.Fprintf(p.Stdout, "%s  %s  %s  %s  %s\n",
		p.paint.Paint(render.Dim, e.GetTime().AsTime().Local().Format("2006-01-02 15:04:05.000")),
		p.paint.Paint(severityStyle(e.GetSeverity()), fmt.Sprintf("%-7s", manifest.EnumText(e.GetSeverity()))),
		fmt.Sprintf("%-*s", aboutWidth, render.Clean(about)), p.paint.Paint(render.Bold, fmt.Sprintf("%-16s", render.Clean(e.GetId()))), eventMessage(e, p.wide()))
	if err != nil || e.GetSeverity() != roostv1.EventSeverity_EVENT_SEVERITY_ERROR {
		return err
	}
	return p.lastOutput(e.GetAttributes()[attributeOutput])
}

const (
	// aboutWidth holds an app's name of usual length and an instance's id: what
	// streams has no other way to be aligned.
	aboutWidth = 20 + 1 + 16
	// attributeOutput is the end of what the instance that failed wrote.
	attributeOutput = "output"
)

// lastOutput shows what an app wrote before it failed, below the event.
func (p *program) lastOutput(text string) error {
	for line := range strings.Lines(render.Indent(render.CleanLines(text), "  | ")) {
		if _, err := fmt.Fprintln(p.Stdout, p.paint.Paint(render.Dim, strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

// eventMessage is an event's message, with its actor and attributes where asked for.
func eventMessage(e *roostv1.Event, wide bool) string {
	text := render.Clean(e.GetMessage())
	if !wide {
		return text
	}
	if e.GetActor() != "" {
		text += " by=" + render.Clean(e.GetActor())
	}
	for _, k := range sortedKeys(e.GetAttributes()) {
		if k == attributeOutput && e.GetSeverity() == roostv1.EventSeverity_EVENT_SEVERITY_ERROR {
			continue // it has lines of its own
		}
		text += fmt.Sprintf(" %s=%s", render.Clean(k), render.Clean(e.GetAttributes()[k]))
	}
	return text
}

func severityStyle(s roostv1.EventSeverity) render.Style {
	switch s {
	case roostv1.EventSeverity_EVENT_SEVERITY_WARNING:
		return render.Yellow
	case roostv1.EventSeverity_EVENT_SEVERITY_ERROR:
		return render.Red
	default:
		return render.Plain
	}
}
