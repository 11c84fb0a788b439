// Package keeper is the parent of every instance, and the daemon's way to it.
//
// The keeper is a process of its own (roostd keeper), so that apps outlive the
// daemon: Run spawns and reaps, moves output to disk, holds the processes of an
// instance together and keeps a record of each. It has no policy; what it is
// asked for comes fully resolved over a private socket.
//
// Client is the daemon's end. It starts the keeper where none runs, resolves what
// a spec means on this host (user, environment, command), and hands out
// processes: run.go fits it to what the supervisor asks for.
package keeper

import (
	"path/filepath"
	"regexp"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Protocol is the version of what keeper and daemon say to each other.
const Protocol = 2

// Config says how a keeper works.
type Config struct {
	StateDir string // records, socket and lock
	LogDir   string // what the instances write
	Exec     string // path of roost-exec, which is held from the start on
	// Lane forces a way to hold trees together, see package tree; "" takes the best.
	Lane string
	// LogGroup may read the logs, where a root keeper runs and the group exists.
	LogGroup string
	// Idle is how long a keeper stays that has neither an instance nor a client; 0
	// is ten seconds.
	Idle    time.Duration
	Version string
	Log     hclog.Logger
}

const defaultIdle = 10 * time.Second

// socketPath is where the keeper of a state dir listens.
func socketPath(stateDir string) string { return filepath.Join(stateDir, "keeper.sock") }

// Names are the only parts of paths that come from a request.
var (
	validID  = regexp.MustCompile(`^[a-z0-9]{1,32}$`)
	validApp = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)
