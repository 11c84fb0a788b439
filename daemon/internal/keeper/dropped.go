package keeper

import (
	"context"
	"fmt"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// outputToldNote is what was told of an instance's output, by whatever daemon.
const outputToldNote = "roost.output_told"

// told is what was told of an instance's output.
type told struct {
	known    bool
	now      app.Output
	dropping bool
	bytes    int64
	missing  bool
}

const toldForm = "dropping=%t bytes=%d missing=%t"

func (t told) String() string { return fmt.Sprintf(toldForm, t.dropping, t.bytes, t.missing) }

// tellOutput tells what is new of an instance's output: how it stands to everybody
// who asks, and once what was lost.
func (p *Process) tellOutput(o *keeperv1.Output, note string) {
	p.mu.Lock()
	t := &p.output
	if !t.known {
		t.known = true
		_, _ = fmt.Sscanf(note, toldForm, &t.dropping, &t.bytes, &t.missing)
	}
	was := *t
	t.now = outputOf(o)
	switch dropped := t.now.DroppedBytes > t.bytes; {
	case t.now.Fault != "" && !t.now.Waits && dropped:
		t.dropping = true
	case t.now.Fault == "":
		t.dropping, t.bytes = false, t.now.DroppedBytes
	}
	t.missing = o.GetMissing()
	now, info := *t, p.info
	p.mu.Unlock()
	p.client.tellOutput(info, was, now)
	if now.String() != was.String() {
		p.noteTold(outputToldNote, now.String())
	}
}

func (c *Client) tellOutput(p app.ProcessInfo, was, now told) {
	if c.cfg.Output != nil && now.now != was.now {
		c.cfg.Output(p)
	}
	if c.cfg.OutputDropped == nil {
		return
	}
	switch {
	case now.dropping && !was.dropping:
		c.cfg.OutputDropped(p, false)
	case !now.dropping && (was.dropping || now.bytes > was.bytes):
		c.cfg.OutputDropped(p, true)
	}
	if now.missing && !was.missing {
		c.cfg.OutputMissing(p)
	}
}

func outputOf(o *keeperv1.Output) app.Output {
	return app.Output{
		Fault: o.GetFault(), Waits: o.GetWaits(), DroppedBytes: o.GetDroppedBytes(), DroppedLines: o.GetDroppedLines(),
	}
}

// noteTold notes in the record what was told, for the next daemon.
func (p *Process) noteTold(key, what string) {
	p.client.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := p.Annotate(ctx, map[string]string{key: what}); err != nil && ctx.Err() == nil {
			p.client.cfg.Log.Warn("cannot note that a fault was told", "instance", p.id, "error", err)
		}
	})
}
