package app

import "time"

// Spec says what an app is and how it is run. A nil or empty field means "not
// given"; WithDefaults fills it in.
type Spec struct {
	Name      string
	Command   []string
	Dir       string // absolute, as the user gave it
	Release   string
	Env       map[string]string
	EnvFiles  []string
	User      string
	Group     string
	Umask     string // octal
	Labels    map[string]string
	Instances *int
	Routes    []Route
	Listen    Listen
	Start     Start
	Ready     Probe
	Stop      Stop
	Restart   Restart
	Recycle   Recycle
	Idle      Idle
	Requests  Requests
	Limits    Limits
	Preset    Preset
	Health    *Health // nil: ready instances are not asked again
	Logs      Logs
	ErrorPage ErrorPage
}

// Preset brings a platform's own conventions; "" is none.
type Preset string

// PresetASPNETCore does what the ASP.NET Core Module of IIS does.
const PresetASPNETCore Preset = "aspnetcore"

// Route leads requests of a host and a path prefix to the app.
type Route struct {
	Host      string // lower case; exact, "*.suffix" or "" for any
	Path      string // "/" or "/a/b"
	StripPath bool
	HTTPS     HTTPSPolicy
}

// HTTPSPolicy is what happens to a route's requests in clear text; "": they are
// served.
type HTTPSPolicy string

// What happens to requests in clear text.
const (
	HTTPSRedirect HTTPSPolicy = "redirect"
	HTTPSOnly     HTTPSPolicy = "only"
)

// ListenMode is how an instance gets its address.
type ListenMode string

// The listen modes of the manifest.
const (
	ListenPort ListenMode = "port"
	ListenFD   ListenMode = "fd"
	ListenUnix ListenMode = "unix"
	ListenNone ListenMode = "none"
)

// Listen is how the app gets its address.
type Listen struct {
	Mode ListenMode
	Port int // fixed port of mode port; 0 picks one
}

// StartWhen is what starts an app.
type StartWhen string

// What may start an app.
const (
	StartOnRequest StartWhen = "request"
	StartOnBoot    StartWhen = "boot"
	StartManual    StartWhen = "manual"
)

// Start is when and for how long an instance may start.
type Start struct {
	When    StartWhen
	Timeout *time.Duration
	Warmup  string // path requested of a new instance before it counts as ready
}

// ProbeKind is the kind of a probe's question.
type ProbeKind string

// The kinds of probe. ProbeListen, the zero value, asks for a listening socket
// that the instance owns.
const (
	ProbeListen ProbeKind = ""
	ProbeHTTP   ProbeKind = "http"
	ProbeTCP    ProbeKind = "tcp"
	ProbeExec   ProbeKind = "exec"
	ProbeLog    ProbeKind = "log"
	ProbeNotify ProbeKind = "notify"
)

// Probe is one way to ask an instance whether it is ready.
type Probe struct {
	Kind     ProbeKind
	HTTP     HTTPCheck      // of ProbeHTTP
	Command  []string       // of ProbeExec
	Pattern  string         // of ProbeLog
	Interval *time.Duration // nil, also with defaults: a few percent of the time already waited
	Timeout  *time.Duration
}

// Health asks a ready instance whether it still is. Its probe is of kind listen,
// http, tcp or exec.
type Health struct {
	Probe    Probe
	Failures *int // in a row, after which the instance is replaced
}

// HTTPCheck passes when a GET is answered with an accepted status.
type HTTPCheck struct {
	Path    string
	Host    string
	Headers map[string]string
	Status  string // "200-399,404"
}

// Stop is how an instance is ended.
type Stop struct {
	Signal  string // "SIGTERM"
	Timeout *time.Duration
	Drain   *time.Duration
}

// RestartWhen is what the daemon restarts unasked.
type RestartWhen string

// What the daemon restarts unasked.
const (
	RestartAlways    RestartWhen = "always"
	RestartOnFailure RestartWhen = "on-failure"
	RestartOnRequest RestartWhen = "on-request"
	RestartNever     RestartWhen = "never"
)

// OnRapidFail is what becomes of an app whose crash budget is spent.
type OnRapidFail string

// What becomes of an app whose crash budget is spent.
const (
	RapidFailWait OnRapidFail = "wait"
	RapidFailStop OnRapidFail = "stop"
)

// Restart is what follows a failure.
type Restart struct {
	When                RestartWhen
	RapidFailsPerMinute *int
	Backoff             *time.Duration
	MaxBackoff          *time.Duration
	OnRapidFail         OnRapidFail
}

// Recycle is how instances are replaced, and when the daemon does so unasked: 0
// and none is never.
type Recycle struct {
	Overlap     *bool
	MinReady    *time.Duration
	MaxAge      time.Duration
	At          []string // times of day, "03:00", local
	MaxRequests int64
	MaxMemory   int64    // bytes, of all processes of an instance
	Watch       []string // patterns of files below the app's folder
	Settle      *time.Duration
}

// Idle is when an app nobody asks for is stopped.
type Idle struct {
	After time.Duration // 0 is never
}

// WebSocketDrain is what a drain does to open WebSockets.
type WebSocketDrain string

// What a drain does to open WebSockets.
const (
	WebSocketsDrain WebSocketDrain = "drain"
	WebSocketsClose WebSocketDrain = "close"
)

// Requests are the limits of what the proxy forwards.
type Requests struct {
	Timeout      *time.Duration
	Queue        *int
	QueueTimeout *time.Duration
	MaxBody      int64
	WebSockets   WebSocketDrain
}

// Limits are the resources an instance may use; 0 is no limit.
type Limits struct {
	NoFile    int
	Memory    int64 // bytes
	CPUMillis int64 // thousandths of a core
	Pids      int
}

// WhenFull is what becomes of output that finds no room.
type WhenFull string

// What becomes of output that finds no room.
const (
	FullDropOldest WhenFull = "drop-oldest"
	FullBlock      WhenFull = "block"
)

// Logs are the limits of what is kept of an app's output, and a copy of it.
type Logs struct {
	MaxSize    int64 // bytes, of one file
	MaxFiles   *int
	WhenFull   WhenFull
	StdoutFile string // prefix of the copy's name; "" is none
}

// ErrorPage is what a client sees of a failed start.
type ErrorPage struct {
	DisableStartup bool
}
