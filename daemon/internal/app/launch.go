package app

import "time"

// Launch is what the supervisor asks for when it starts an instance. The
// launcher resolves the user, reads env files, expands ${NAME} and looks the
// command up; all of that can fail as a StartError.
type Launch struct {
	ID         InstanceID
	Generation int64
	Spec       Spec   // with defaults
	Dir        string // resolved
	Port       int    // of mode port; chosen by the supervisor
	Token      string
	PathBase   string            // ROOST_PATH_BASE, "" for none
	HTTPSPort  int               // of the proxies, 0 where they have none or several
	Notes      map[string]string // kept with the process, given back by Recover
}

// ProcessInfo is what is known of a launched process.
type ProcessInfo struct {
	ID         InstanceID
	App        string
	Generation int64
	PID        int
	StartTime  time.Time // by the wall clock, as it was then
	Began      time.Time // the same on our own clock, which nobody sets; zero: not known
	UID        int
	Address    string // where it was told to listen: "127.0.0.1:port", "unix:/path", "" for none
	Token      string
	Cgroup     string            // its cgroup directory, "" where it has none
	Conditions map[string]string // condition type → message
	Notes      map[string]string
	Output     Output
}

// StartError is why an instance did not become ready.
type StartError struct {
	Step    string // user, env, command, dir, limit, exec, fork, port, listen, probe, warmup, timeout, exit
	Message string // which thing, why, what to do
	Exit    *Exit  // of step exit
	Timeout bool   // start.timeout passed
	Lost    bool   // the keeper died meanwhile, and nothing is left of the start
	Err     error
}

func (e *StartError) Error() string { return e.Message }

func (e *StartError) Unwrap() error { return e.Err }
