package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// readOptions are the flags that logs and events have in common.
type readOptions struct {
	follow       bool
	tail         int32
	since, until string
	grep         string
	instance     string
	cursor       string
	lossless     bool
}

func (o *readOptions) flags(c *cobra.Command, what, text string) {
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes, until Ctrl-C, also when the daemon is started again")
	f.Int32VarP(&o.tail, "tail", "n", 0, "begin this many "+what+" before the end (default: at the beginning)")
	f.StringVar(&o.since, "since", "", "leave out what is older: 10m, or a time such as 2006-01-02T15:04:05Z")
	f.StringVar(&o.until, "until", "", "leave out what is newer, in the same forms")
	f.StringVar(&o.grep, "grep", "", "only "+what+" whose "+text+" matches this regular expression (RE2)")
	f.StringVar(&o.instance, "instance", "", "only of this instance")
	f.StringVar(&o.cursor, "cursor", "", "go on after this cursor, as -o json prints it")
	f.BoolVar(&o.lossless, "lossless", false, "fail rather than leave out what was deleted before it could be read")
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

// times reads --since and --until.
func (o *readOptions) times() (since, until *timestamppb.Timestamp, err error) {
	now := time.Now()
	if since, err = timeFlag("since", o.since, now); err != nil {
		return nil, nil, err
	}
	until, err = timeFlag("until", o.until, now)
	return since, until, err
}

// How long a follower waits before it asks again for a daemon that has gone.
const (
	firstAgain = 100 * time.Millisecond
	maxAgain   = time.Second
)

// goOn reads a stream to its end, and one that is followed again from where it was
// when its daemon has gone meanwhile. begin opens it from there; next takes one step.
func (p *program) goOn(ctx context.Context, follow bool, begin func() (next func() error, err error)) error {
	answered, told, again := false, false, firstAgain
	for {
		next, err := begin()
		for err == nil {
			if err = next(); err == nil {
				answered, told, again = true, false, firstAgain
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case !follow || !answered || status.Code(err) != codes.Unavailable:
			return p.streamEnd(ctx, follow, err)
		case !told:
			p.note("roostctl: the daemon has gone: going on when it is back")
			told = true
		}
		select {
		case <-ctx.Done():
			return p.streamEnd(ctx, follow, err)
		case <-time.After(again):
		}
		again = min(2*again, maxAgain)
	}
}

// streamEnd is nil where a follower asked for the end itself.
func (p *program) streamEnd(ctx context.Context, follow bool, err error) error {
	err = cause(ctx, err)
	if follow && (errors.Is(err, errInterrupted) || timedOut(err)) {
		return nil
	}
	if s, ok := status.FromError(err); ok && s.Code() == codes.ResourceExhausted {
		for _, d := range s.Details() {
			if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetMetadata()["cursor"] != "" {
				return failed(exitFailed, "%s: --cursor %s", s.Message(), info.GetMetadata()["cursor"])
			}
		}
	}
	return err
}
