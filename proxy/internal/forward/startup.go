package forward

import (
	"html"
	"slices"
	"strings"
)

// guide helps whoever meets an app that does not start: why that usually is, and
// where the reason can be found. It tells nothing about the app itself.
type guide struct {
	event  string // id of the daemon's event that has the reason
	causes []string
	steps  []string
}

// The usual causes are those of the module's page 502.5.
var startCauses = []string{
	"The app did not start: its program, its folder or its user is not there or may not be used.",
	"The app started and ended before it was ready.",
	"The app runs but does not listen where it was told to, at the port in PORT or the socket that it was given.",
}

var startSteps = []string{
	"The event has the step that failed, the reason and the app's last output: roostctl events",
	"All that the app wrote: roostctl logs APP",
	"Try its command by hand: in its folder, as its user, with the same environment.",
}

// detailStep is for pages that do not have the details.
const detailStep = "While the app is in development, set ROOST_DETAILED_ERRORS=1 in its env to have the reason and its output on this page."

var guides = map[string]guide{
	"start-failed":  {"StartFailed", startCauses, startSteps},
	"start-timeout": {"StartFailed", startCauses, startSteps},
	"rapid-fail": {
		"AppBlocked", startCauses,
		append([]string{"When it is mended, this has it started at once: roostctl start APP"}, startSteps...),
	},
}

// guideTo is the guide to a failure, if it is one of a start. An unknown code is.
// detailed says that its reader sees the details.
func guideTo(code string, detailed bool) (guide, bool) {
	if _, known := answers[code]; !known {
		code = "start-failed"
	}
	g, ok := guides[code]
	if ok && !detailed {
		g.steps = append(slices.Clip(g.steps), detailStep)
	}
	return g, ok
}

// html renders the guide as a part of a page.
func (g guide) html(b *strings.Builder) {
	for _, part := range []struct {
		title string
		list  []string
	}{{"Usual causes", g.causes}, {"What to do", g.steps}} {
		b.WriteString("<h2>" + part.title + "</h2>\n<ul>\n")
		for _, text := range part.list {
			b.WriteString("<li>" + html.EscapeString(text) + "</li>\n")
		}
		b.WriteString("</ul>\n")
	}
}
