package app

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of a spec.
const (
	MaxInstances       = 100
	MaxRelease         = 64
	MaxRapidFails      = 100
	maxPort            = 65535
	maxDuration        = 365 * 24 * time.Hour
	maxCores           = 1000
	minProbeInterval   = time.Millisecond
	maxCommandArgument = 128 << 10 // MAX_ARG_STRLEN of execve(2)
)

var (
	nameRE  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	envRE   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	umaskRE = regexp.MustCompile(`^0?[0-7]{1,3}$`)
	hostRE  = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	ipv6RE  = regexp.MustCompile(`^\[[0-9a-f:.]+\]$`)
)

// ValidName tells whether s can be an app's name.
func ValidName(s string) bool { return nameRE.MatchString(s) }

// Validate returns every fault of a spec that WithDefaults has completed, with
// fields relative to the spec, such as "listen.port" or "routes[0].path".
func (s Spec) Validate() []Violation {
	v := &violations{}
	if !ValidName(s.Name) {
		v.add("name", "%q is not an app name: lower-case letters, digits and inner dashes, at most 63", s.Name)
	}
	s.validateCommand(v, "command", s.Command)
	s.validateFiles(v)
	s.validateEnv(v)
	s.validateRoutes(v)
	s.validateListen(v)
	s.validateStart(v)
	s.validateReady(v)
	s.validateHealth(v)
	s.validateStop(v)
	s.validateRestart(v)
	s.validateRecycle(v)
	s.validateRequests(v)
	s.validateLogs(v)
	s.validateLimits(v)
	s.validatePreset(v)
	return v.list
}

// violations collects faults.
type violations struct{ list []Violation }

func (v *violations) add(field, format string, args ...any) {
	v.list = append(v.list, Violation{Field: field, Message: fmt.Sprintf(format, args...)})
}

func inRange[T cmp.Ordered](v *violations, field string, n, low, high T) {
	if n < low || n > high {
		v.add(field, "%v is out of range: %v to %v", n, low, high)
	}
}

// above refuses a duration of 0 or less.
func (v *violations) above(field string, d time.Duration) {
	if d <= 0 || d > maxDuration {
		v.add(field, "%v is out of range: it must be above 0 and at most %v", d, maxDuration)
	}
}

// validateCommand refuses a command, or that of a probe, which no start could run.
func (s Spec) validateCommand(v *violations, field string, argv []string) {
	if len(argv) == 0 || argv[0] == "" {
		v.add(field, "it is required: the program and its arguments")
		return
	}
	known := s.pathVariablesWithEnv()
	for i, arg := range argv {
		field := fmt.Sprintf("%s[%d]", field, i)
		if strings.ContainsRune(arg, 0) {
			v.add(field, "it holds a NUL byte")
		}
		if len(arg) > maxCommandArgument {
			v.add(field, "it is longer than the kernel takes: at most %d bytes", maxCommandArgument)
		}
		validateExpansion(v, field, arg, known, "in a command, where every user could read it: let the app read its environment")
	}
}

// validateExpansion refuses what would put a secret where others can read it,
// and what can never expand.
func validateExpansion(v *violations, field, text string, known []string, tokenWhy string) {
	_, err := Expand(text, func(name string) (string, bool) {
		if slices.Contains(secretVariables, name) {
			v.add(field, "${%s} does not expand %s", name, tokenWhy)
			return "", true
		}
		return "", slices.Contains(known, name)
	})
	if err != nil {
		v.add(field, "%v (what env_files set does not expand here)", err)
	}
}

// pathVariables are those of Roost and of the app's account: all that is known
// before env and env_files are.
func (s Spec) pathVariables() []string {
	return append(s.OwnVariables(), "PATH", "LANG", "TZ", "TMPDIR", "HOME", "USER", "LOGNAME", "SHELL")
}

// pathVariablesWithEnv are those, and what env sets.
func (s Spec) pathVariablesWithEnv() []string {
	return append(s.pathVariables(), slices.Collect(maps.Keys(s.Env))...)
}

// OwnVariables are the variables that Roost itself sets for the app.
func (s Spec) OwnVariables() []string {
	names := []string{"ROOST_APP", "ROOST_INSTANCE", "ROOST_RELEASE", "ROOST_PATH_BASE", "ROOST_TOKEN"}
	switch s.Listen.Mode {
	case ListenPort:
		names = append(names, "PORT")
	case ListenFD:
		names = append(names, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
	case ListenUnix:
		names = append(names, "ROOST_SOCKET")
	}
	if s.Ready.Kind == ProbeNotify {
		names = append(names, "NOTIFY_SOCKET")
	}
	if s.Preset == PresetASPNETCore {
		names = append(names, moduleVariables()...)
	}
	return names
}

// refuses tells whether Roost sets a variable itself and a user's value would be
// a mistake.
func (s Spec) refuses(own []string, name string) bool {
	if s.Preset == PresetASPNETCore && (oneOf(moduleOverwritten, name) || oneOf(moduleDefaults, name)) {
		return false
	}
	return slices.Contains(own, name) || s.Preset == PresetASPNETCore && oneOf(moduleRefused, name)
}

func (s Spec) validateFiles(v *violations) {
	switch {
	case s.Dir == "":
		v.add("dir", "it is required: the absolute working directory")
	case !path.IsAbs(s.Dir):
		v.add("dir", "%q is not absolute", s.Dir)
	case strings.ContainsRune(s.Dir, 0):
		v.add("dir", "it holds a NUL byte")
	}
	for i, f := range s.EnvFiles {
		field := fmt.Sprintf("env_files[%d]", i)
		// ${HOME} and the like are absolute: the start expands them.
		if !path.IsAbs(f) && !strings.HasPrefix(f, "${") || strings.ContainsRune(f, 0) {
			v.add(field, "%q is not an absolute path", f)
			continue
		}
		validateExpansion(v, field, f, s.pathVariables(), "in the name of a file")
	}
	if utf8.RuneCountInString(s.Release) > MaxRelease || strings.ContainsFunc(s.Release, isControl) {
		v.add("release", "it is a label of at most %d printable characters", MaxRelease)
	}
	if !umaskRE.MatchString(s.Umask) {
		v.add("umask", "%q is not an octal mask such as 022", s.Umask)
	}
	for _, id := range []struct{ field, value string }{{"user", s.User}, {"group", s.Group}} {
		if strings.ContainsFunc(id.value, func(r rune) bool { return isControl(r) || r == ':' || r == '/' || r == ' ' }) {
			v.add(id.field, "%q is not the name or number of a %s", id.value, id.field)
		}
	}
}

func (s Spec) validateEnv(v *violations) {
	own := s.OwnVariables()
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		switch {
		case !envRE.MatchString(k):
			v.add("env."+k, "%q is not the name of a variable: letters, digits, _, . and -, no digit first", k)
		case s.refuses(own, k):
			v.add("env."+k, "Roost sets %s itself: take it out%s", k, portHint(k))
		case strings.ContainsRune(s.Env[k], 0):
			v.add("env."+k, "it holds a NUL byte")
		default:
			if _, err := Expand(s.Env[k], func(string) (string, bool) { return "", true }); err != nil {
				v.add("env."+k, "%v", err)
			}
		}
	}
}

func portHint(name string) string {
	if name == "PORT" || strings.EqualFold(name, ModulePort) {
		return " (listen.port fixes a port)"
	}
	return ""
}

func (s Spec) validateRoutes(v *violations) {
	seen := map[Route]int{}
	for i, r := range s.Routes {
		field := routeField(i)
		if r.Host != "" && (len(r.Host) > 253 || !hostRE.MatchString(r.Host) && !ipv6RE.MatchString(r.Host)) {
			v.add(field+".host", "%q is not a host name, *.wildcard or absent (no port, no scheme)", r.Host)
		}
		if msg := routePathFault(r.Path); msg != "" {
			v.add(field+".path", "%q %s", r.Path, msg)
		}
		switch r.HTTPS {
		case "", HTTPSRedirect, HTTPSOnly:
		default:
			v.add(field+".https", "%q is not one of redirect, only", r.HTTPS)
		}
		key := Route{Host: r.Host, Path: r.Path}
		if s.Preset == PresetASPNETCore {
			key.Path = strings.ToLower(r.Path) // it matches in any case
		}
		if first, ok := seen[key]; ok {
			v.add(field, "it is the same host and path as routes[%d]", first)
		}
		seen[key] = i
	}
}

func routeField(i int) string { return fmt.Sprintf("routes[%d]", i) }

func routePathFault(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "does not begin with /"
	case strings.ContainsAny(p, "?#"):
		return "holds a ? or #: a route is a path only"
	case strings.ContainsFunc(p, func(r rune) bool { return isControl(r) || r == ' ' || r == '\\' }):
		return "holds a space, backslash or control character"
	case p != path.Clean(p):
		return "is not clean: write " + path.Clean(p)
	}
	return ""
}

func (s Spec) validateListen(v *violations) {
	inRange(v, "instances", *s.Instances, 1, MaxInstances)
	switch s.Listen.Mode {
	case ListenPort, ListenFD, ListenUnix, ListenNone:
	default:
		v.add("listen.mode", "%q is not one of port, fd, unix, none", s.Listen.Mode)
	}
	if s.Listen.Port != 0 {
		s.validateFixedPort(v)
	}
	if s.Listen.Mode != ListenNone {
		return
	}
	if len(s.Routes) > 0 {
		v.add("routes", "a worker (listen.mode: none) has no address: take the routes out")
	}
	if s.Idle.After != 0 {
		v.add("idle.after", "a worker (listen.mode: none) gets no requests to be idle without: take it out")
	}
}

func (s Spec) validateFixedPort(v *violations) {
	switch {
	case s.Listen.Port < 1 || s.Listen.Port > maxPort:
		inRange(v, "listen.port", s.Listen.Port, 1, maxPort)
		return
	case s.Listen.Mode != ListenPort:
		v.add("listen.port", "only listen.mode: port has a port")
		return
	}
	if *s.Instances != 1 {
		v.add("instances", "a fixed listen.port serves one instance only: set instances: 1 or port: 0")
	}
	if *s.Recycle.Overlap {
		v.add("recycle.overlap", "two instances cannot share the fixed listen.port: set recycle.overlap: false or port: 0")
	}
}

func (s Spec) validateStart(v *violations) {
	switch s.Start.When {
	case StartOnBoot, StartManual:
	case StartOnRequest:
		if s.Listen.Mode == ListenNone {
			v.add("start.when", "a worker (listen.mode: none) gets no request: use boot or manual")
		}
	default:
		v.add("start.when", "%q is not one of request, boot, manual", s.Start.When)
	}
	v.above("start.timeout", *s.Start.Timeout)
	inRange(v, "idle.after", s.Idle.After, 0, maxDuration)
}

func (s Spec) validateStop(v *violations) {
	if _, err := ParseSignal(s.Stop.Signal); err != nil {
		v.add("stop.signal", "%v", err)
	}
	inRange(v, "stop.timeout", *s.Stop.Timeout, 0, maxDuration)
	inRange(v, "stop.drain", *s.Stop.Drain, 0, maxDuration)
}

func (s Spec) validateRestart(v *violations) {
	switch s.Restart.When {
	case RestartAlways, RestartOnFailure, RestartOnRequest, RestartNever:
	default:
		v.add("restart.when", "%q is not one of always, on-failure, on-request, never", s.Restart.When)
	}
	switch s.Restart.OnRapidFail {
	case RapidFailWait, RapidFailStop:
	default:
		v.add("restart.on_rapid_fail", "%q is not one of wait, stop", s.Restart.OnRapidFail)
	}
	inRange(v, "restart.rapid_fails_per_minute", *s.Restart.RapidFailsPerMinute, 0, MaxRapidFails)
	inRange(v, "restart.backoff", *s.Restart.Backoff, 0, maxDuration)
	inRange(v, "restart.max_backoff", *s.Restart.MaxBackoff, *s.Restart.Backoff, maxDuration)
}

func (s Spec) validateRequests(v *violations) {
	v.above("requests.timeout", *s.Requests.Timeout)
	v.above("requests.queue_timeout", *s.Requests.QueueTimeout)
	inRange(v, "requests.queue", *s.Requests.Queue, 0, 1_000_000)
	if s.Requests.MaxBody < 0 {
		v.add("requests.max_body", "%d is negative: give a size such as 10MiB, or 0 for any", s.Requests.MaxBody)
	}
	switch s.Requests.WebSockets {
	case WebSocketsDrain, WebSocketsClose:
	default:
		v.add("requests.websockets", "%q is not one of drain, close", s.Requests.WebSockets)
	}
}

func (s Spec) validateLogs(v *violations) {
	inRange(v, "logs.max_size", s.Logs.MaxSize, 4<<10, 1<<40)
	inRange(v, "logs.max_files", *s.Logs.MaxFiles, 1, 10_000)
	switch s.Logs.WhenFull {
	case FullDropOldest, FullBlock:
	default:
		v.add("logs.when_full", "%q is not one of drop-oldest, block", s.Logs.WhenFull)
	}
	if s.Logs.StdoutFile == "" {
		return
	}
	validateExpansion(v, "logs.stdout_file", s.Logs.StdoutFile, s.pathVariablesWithEnv(), "in the name of a file")
	if strings.ContainsRune(s.Logs.StdoutFile, 0) {
		v.add("logs.stdout_file", "it holds a NUL byte")
	}
}

func (s Spec) validateLimits(v *violations) {
	inRange(v, "limits.nofile", s.Limits.NoFile, 0, 1<<30)
	inRange(v, "limits.memory", s.Limits.Memory, 0, 1<<60)
	if c := s.Limits.CPUMillis; c < 0 || c > maxCores*1000 {
		v.add("limits.cpu", "%v is out of range: 0 to %d cores", float64(c)/1000, maxCores)
	}
	inRange(v, "limits.pids", s.Limits.Pids, 0, 1<<22)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
