package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func eventsDir(stateDir string) string { return filepath.Join(stateDir, "events") }

// hasEvents tells whether a daemon has run in a state dir: every start is an event.
func hasEvents(stateDir string) bool {
	entries, err := os.ReadDir(eventsDir(stateDir))
	return err == nil && len(entries) > 0
}

// tellRestored tells that the state had to be made again from its copy, if it had.
func (d *daemon) tellRestored() {
	r := d.state.Restored()
	if r == nil {
		return
	}
	copied := r.Time.Format(time.RFC3339)
	d.cfg.log.Error("the state is restored from its last good copy: apply again what was changed after that",
		"path", r.Path, "reason", r.Why, "copy_time", copied, "kept", r.Kept)
	message := fmt.Sprintf("the state is restored from its copy of %s, for %s could not be used: %s; apply again what was changed after that",
		copied, r.Path, r.Why)
	attributes := map[string]string{"reason": r.Why, "copy_time": copied}
	if r.Kept != "" {
		message += "; the damaged file is " + r.Kept
		attributes["kept"] = r.Kept
	}
	d.events.Record(app.Event{ID: app.EventStateRestored, Severity: app.Error, Message: message, Attributes: attributes})
}
