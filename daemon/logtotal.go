package main

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	leastLogTotal = 1 << 20
	mostLogTotal  = 4 << 30 // unless somebody asks for more
)

// logTotal is the most that all apps together keep: what was asked for, else a
// tenth of the file system, at most 4 GiB.
func (c config) logTotal() int64 {
	if c.logMaxTotal > 0 {
		return c.logMaxTotal
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(c.logDir, &fs); err != nil {
		return mostLogTotal
	}
	return max(min(int64(fs.Blocks)*fs.Bsize/10, mostLogTotal), leastLogTotal)
}

// deletions tells of deleted output, of each app once an hour: of one that writes
// much, something is deleted all the time.
type deletions struct {
	record func(app.Event)

	mu   sync.Mutex
	told map[string]time.Time
}

const deletionEvery = time.Hour

func (d *deletions) tell(name string, own, forAll int64) {
	d.mu.Lock()
	last, ok := d.told[name]
	due := !ok || time.Since(last) >= deletionEvery
	if due {
		if d.told == nil {
			d.told = map[string]time.Time{}
		}
		d.told[name] = time.Now()
	}
	d.mu.Unlock()
	if !due {
		return
	}
	e := app.Event{
		ID: app.EventOutputDeleted, App: name, Severity: app.Info,
		Message:    fmt.Sprintf("old output is deleted, %d bytes so far: it is more than logs.max_size and max_files keep", own+forAll),
		Attributes: map[string]string{"bytes": fmt.Sprint(own + forAll), "limit": "logs.max_files"},
	}
	if own == 0 {
		e.Severity = app.Warning
		e.Message = fmt.Sprintf("old output is deleted, %d bytes so far: all apps together write more than --log-max-total keeps", forAll)
		e.Attributes["limit"] = "--log-max-total"
	}
	d.record(e)
}
