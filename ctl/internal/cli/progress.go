package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
	"github.com/roostd/roost/ctl/internal/render"
)

// progress shows rollouts while they go on: on a terminal a line for each that
// is rewritten, elsewhere a new line whenever one has moved. One goroutine uses it.
type progress struct {
	w        io.Writer
	terminal bool
	columns  int
	paint    render.Painter
	width    int // of the longest app name
	order    []string
	state    map[string]*roostv1.Rollout
	began    time.Time
	last     map[string]string // the last plain line of each
	drawn    int               // lines on the terminal
}

func (p *program) newProgress(apps []string) *progress {
	g := &progress{
		w: p.Stderr, terminal: isTerminal(p.Stderr), paint: render.Painter(isTerminal(p.Stderr) && !p.noColor()),
		order: apps, state: map[string]*roostv1.Rollout{}, began: time.Now(), last: map[string]string{},
	}
	columns, rows := terminalSize(p.Stderr)
	g.columns = columns
	if len(apps) >= rows || p.lookup("TERM") == "dumb" {
		g.terminal = false // lines that have left the screen cannot be rewritten
	}
	for _, a := range apps {
		g.width = max(g.width, len(a))
	}
	return g
}

// update takes in how far an app's rollout is.
func (g *progress) update(app string, r *roostv1.Rollout) {
	g.state[app] = r
	if g.terminal {
		g.draw()
		return
	}
	if line := strings.TrimRight(g.line(app), " "); line != g.last[app] {
		g.last[app] = line
		fmt.Fprintln(g.w, line)
	}
}

// draw writes all lines over those that it wrote before.
func (g *progress) draw() {
	if !g.terminal {
		return
	}
	var b strings.Builder
	if g.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", g.drawn)
	}
	for _, app := range g.order {
		text := fmt.Sprintf("%s   %s", g.line(app), render.Age(g.elapsed(app)))
		if r := []rune(text); len(r) >= g.columns {
			text = string(r[:max(g.columns-2, 0)]) + "…"
		}
		fmt.Fprintf(&b, "\r\x1b[2K%s\n", g.paint.Paint(styleOf(g.state[app].GetPhase()), text))
	}
	g.drawn = len(g.order)
	_, _ = io.WriteString(g.w, b.String())
}

// elapsed is how long a rollout takes, or took, by the daemon's clock, which is
// this machine's.
func (g *progress) elapsed(app string) time.Duration {
	from, to := g.began, time.Now()
	if t := g.state[app].GetStartTime(); t != nil {
		from = t.AsTime()
	}
	if t := g.state[app].GetEndTime(); t != nil {
		to = t.AsTime()
	}
	return to.Sub(from)
}

func (g *progress) line(app string) string {
	r := g.state[app]
	if r == nil {
		return fmt.Sprintf("%-*s   waiting", g.width, app)
	}
	ready := ""
	if r.GetDesired() > 0 {
		ready = fmt.Sprintf("%d/%d ready", r.GetUpdated(), r.GetDesired())
	}
	parts := []string{fmt.Sprintf("%-*s   %-11s   %-9s", g.width, app, manifest.EnumText(r.GetPhase()), ready)}
	if r.GetDraining() > 0 && !over(r.GetPhase()) {
		parts = append(parts, fmt.Sprintf("%d draining", r.GetDraining()))
	}
	if m := render.Clean(r.GetMessage()); m != "" && !over(r.GetPhase()) {
		parts = append(parts, m)
	}
	return strings.Join(parts, "   ")
}

func styleOf(p roostv1.RolloutPhase) render.Style {
	switch p {
	case roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE:
		return render.Green
	case roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED:
		return render.Red
	case roostv1.RolloutPhase_ROLLOUT_PHASE_SUPERSEDED:
		return render.Yellow
	default:
		return render.Plain
	}
}

// over reports whether a rollout has ended.
func over(p roostv1.RolloutPhase) bool {
	switch p {
	case roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE, roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED, roostv1.RolloutPhase_ROLLOUT_PHASE_SUPERSEDED:
		return true
	default:
		return false
	}
}
