package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestLogTotal(t *testing.T) {
	if got := (config{logMaxTotal: 5 << 20}).logTotal(); got != 5<<20 {
		t.Errorf("%d bytes, want what was asked for", got)
	}
	if got := (config{logDir: t.TempDir()}).logTotal(); got < leastLogTotal || got > mostLogTotal {
		t.Errorf("%d bytes by default, want between %d and %d", got, leastLogTotal, int64(mostLogTotal))
	}
	for text, ok := range map[string]bool{"2GiB": true, "1k": false, "-1": false, "much": false} {
		f := &flags{config: config{stateDir: "/s", socket: "/s/r.sock", startParallelism: 1}, ports: "1-2", logTotal: text}
		f.level, f.format = "info", "text"
		if err := f.parse(); (err == nil) != ok {
			t.Errorf("--log-max-total %s: %v", text, err)
		}
	}
}

// An app that writes much has something deleted all the time: one event an hour.
func TestDeletions_AreToldOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []app.Event
		d := deletions{record: func(e app.Event) { events = append(events, e) }}
		for range 70 {
			d.tell("web", 100, 0)
			time.Sleep(time.Minute)
		}
		d.tell("other", 0, 5)
		if len(events) != 3 || events[2].App != "other" || events[2].Severity != app.Warning || events[0].Severity != app.Info {
			t.Errorf("events %+v, want two of web and a warning of other", events)
		}
	})
}
