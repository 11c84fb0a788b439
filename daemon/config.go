package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// config is what a daemon is told when it is started.
type config struct {
	socket           string
	stateDir         string
	logDir           string
	portLow          int
	portHigh         int
	appUser          string
	proxyGroup       string
	detachOnExit     bool
	startParallelism int
	logMaxTotal      int64 // bytes; 0: what suits the file system, see defaultLogTotal

	uid, gid            int
	env                 map[string]string // what apps get of the daemon's environment: PATH, LANG, TZ, TMPDIR
	program             string            // path of this program, which is the keeper, too
	version             string
	hurry               <-chan struct{}    // closed when ending is to take no time any more
	notify              func(state string) // tells the service manager; see sd_notify(3)
	log                 hclog.Logger
	logLevel, logFormat string // of log, for the keeper's
}

// rootStateDir is the system's state dir; only with it are logs at rootLogDir.
const (
	rootStateDir = "/var/lib/roost"
	rootLogDir   = "/var/log/roost"
)

// defaultLogDir is where logs are where nobody names a place.
func defaultLogDir(stateDir string, uid int) string {
	if uid == 0 && stateDir == rootStateDir {
		return rootLogDir
	}
	return filepath.Join(stateDir, "logs")
}

// parsePorts reads a range such as 20000-29999, both ends included.
func parsePorts(s string) (low, high int, err error) {
	a, b, ok := strings.Cut(s, "-")
	low, errLow := strconv.Atoi(strings.TrimSpace(a))
	high, errHigh := strconv.Atoi(strings.TrimSpace(b))
	if !ok || errLow != nil || errHigh != nil || low < 1 || high > 65535 || low > high {
		return 0, 0, fmt.Errorf("%q is no range of ports such as 20000-29999", s)
	}
	return low, high, nil
}
