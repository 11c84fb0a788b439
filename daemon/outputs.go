package main

import (
	"fmt"
	"strconv"

	"github.com/roostd/roost/daemon/internal/app"
)

// output tells the supervisor how it stands with an instance's output.
func (d *daemon) output(p app.ProcessInfo) { d.apps.Output(p.App, p.ID, p.Output) }

// outputDropped tells that output is being dropped, and what that came to in the end.
func (d *daemon) outputDropped(p app.ProcessInfo, over bool) {
	o := p.Output
	e := outputEvent(p, app.EventOutputDropped, "what the app writes cannot be written to its log and is dropped: "+o.Fault+
		": free the disk, or see to it; the app runs on, and its log goes on by itself")
	e.Attributes["error"] = o.Fault
	if over {
		e = outputEvent(p, app.EventOutputResumed, fmt.Sprintf(
			"output is written again, or has ended; of this instance %d bytes, %d lines, could not be", o.DroppedBytes, o.DroppedLines))
	}
	e.Attributes["bytes"], e.Attributes["lines"] = strconv.FormatInt(o.DroppedBytes, 10), strconv.FormatInt(o.DroppedLines, 10)
	d.events.Record(e)
}

// outputMissing tells that nobody can know what an instance wrote last.
func (d *daemon) outputMissing(p app.ProcessInfo) {
	d.events.Record(outputEvent(p, app.EventOutputMissing,
		"output may be missing: the instance ended while neither roostd nor its keeper ran, and what it wrote last, at most what a pipe holds (1 MiB), ended with it"))
}

func outputEvent(p app.ProcessInfo, id app.EventID, message string) app.Event {
	return app.Event{
		ID: id, App: p.App, Instance: p.ID, Severity: app.Warning, Message: message,
		Attributes: map[string]string{"pid": strconv.Itoa(p.PID), "generation": strconv.FormatInt(p.Generation, 10)},
	}
}
