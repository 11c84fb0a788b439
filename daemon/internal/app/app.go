package app

import "time"

// State sums an app up in one word.
type State string

// The states of an app.
const (
	StateIdle     State = "idle"
	StateStarting State = "starting"
	StateRunning  State = "running"
	StateDegraded State = "degraded"
	StateStopped  State = "stopped"
	StateBlocked  State = "blocked"
	StateFailed   State = "failed"
	StateOffline  State = "offline"
)

// Generation is one accepted version of an app's spec.
type Generation struct {
	Number      int64
	Spec        Spec
	ResolvedDir string // Spec.Dir with links resolved
	Time        time.Time
	Actor       string
	Outcome     RolloutPhase
}

// Stored is what is durable of an app. Generations are the last 20, oldest
// first; Desired and Serving are always among them.
type Stored struct {
	Name        string
	Generations []Generation
	Desired     int64
	Serving     int64
	PrevServing int64        // served before Serving; 0 where none did
	Stopped     bool         // an operator took it out of service
	RapidFail   *RapidFail   `json:",omitempty"` // it was stopped for its failures instead (restart.on_rapid_fail)
	Offline     *OfflinePage `json:",omitempty"` // an operator took it out of service with a page
	Resumes     bool         `json:",omitempty"` // it was started by hand (start.when: manual) when it went offline, and runs again after that
	Manifest    string
	Failed      *FailedRollout // the last rollout, if it failed
}

// RapidFail is why the daemon stopped an app.
type RapidFail struct {
	Message string
	Time    time.Time
}

// OfflinePage is what requests get of an app that is offline.
type OfflinePage struct {
	Page []byte // HTML; empty has no body
	// BuiltIn asks for the proxy's own page instead.
	BuiltIn bool
}

// FailedRollout keeps why the desired generation does not serve.
type FailedRollout struct {
	Generation int64
	Message    string
	Output     string
	Time       time.Time
}

// App is a snapshot of a registered app and how it fares.
type App struct {
	Stored
	State      State
	Ready      int
	Instances  int // wanted
	Conditions []Condition
	Rollout    *Rollout
	RetryTime  time.Time // until then no request starts it again; zero: none
}

// RolloutPhase is how far a rollout is.
type RolloutPhase int

// The phases of a rollout.
const (
	RolloutPending RolloutPhase = iota + 1
	RolloutProgressing
	RolloutComplete
	RolloutFailed
	RolloutSuperseded
)

// Done tells whether the rollout has ended.
func (p RolloutPhase) Done() bool { return p >= RolloutComplete }

// Rollout is a snapshot of what moves an app to its desired generation, of a
// recycle, a start, a stop or a removal.
type Rollout struct {
	ID         string
	App        string
	Generation int64
	Phase      RolloutPhase
	Desired    int
	Updated    int
	Draining   int
	Message    string
	Output     string
	Start, End time.Time
}

// Endpoint is the address of a ready or draining instance.
type Endpoint struct {
	Instance   InstanceID
	Generation int64
	Address    string // "host:port" or "unix:/path"
	Token      string
	Draining   bool
	ReadyTime  time.Time
	Preset     Preset // that the instance was started with
}

// EndpointSet is all that a proxy knows of one app. Epoch and Revision are
// given by who publishes it.
type EndpointSet struct {
	App            string
	Epoch          uint64
	Revision       uint64
	Endpoints      []Endpoint
	Routes         []Route
	Requests       Requests
	DetailedErrors bool
	Preset         Preset
	// DisableStartupPage leaves the answer to a failed start without a page.
	DisableStartupPage bool
	Offline            *OfflinePage  // nil: in service
	Drain              time.Duration // stop.drain: for how long a proxy that is away is still waited for
}

// Severity is how much an event matters.
type Severity int

// The severities.
const (
	Info Severity = iota + 1
	Warning
	Error
)

// Event is something that happened.
type Event struct {
	ID         EventID
	Cursor     string
	Time       time.Time
	App        string
	Instance   InstanceID
	Actor      string
	Severity   Severity
	Message    string
	Attributes map[string]string
}

// EventID is stable for its kind.
type EventID string

// The kinds of events.
const (
	EventAppCreated         EventID = "AppCreated"
	EventAppUpdated         EventID = "AppUpdated"
	EventAppDeleted         EventID = "AppDeleted"
	EventAppStarted         EventID = "AppStarted" // by an operator
	EventAppStopped         EventID = "AppStopped" // by an operator
	EventAppOffline         EventID = "AppOffline" // by an operator, or by its folder
	EventAppOnline          EventID = "AppOnline"
	EventAppScaled          EventID = "AppScaled"
	EventAppRecycled        EventID = "AppRecycled"
	EventInstanceRecycled   EventID = "InstanceRecycled" // it is to be replaced, unasked
	EventAppIdle            EventID = "AppIdle"          // stopped for lack of requests
	EventAppBlocked         EventID = "AppBlocked"
	EventAppRapidFail       EventID = "AppRapidFail" // stopped for its failures, as by an operator
	EventInstanceStarting   EventID = "InstanceStarting"
	EventInstanceWarm       EventID = "InstanceWarm" // start.warmup was answered
	EventInstanceReady      EventID = "InstanceReady"
	EventInstanceUnready    EventID = "InstanceUnready"
	EventInstanceDraining   EventID = "InstanceDraining"
	EventInstanceStopping   EventID = "InstanceStopping"
	EventInstanceKilled     EventID = "InstanceKilled" // stop.timeout passed
	EventInstanceExited     EventID = "InstanceExited"
	EventStartFailed        EventID = "StartFailed"
	EventRolloutStarted     EventID = "RolloutStarted"
	EventRolloutComplete    EventID = "RolloutComplete"
	EventRolloutFailed      EventID = "RolloutFailed"
	EventRolloutSuperseded  EventID = "RolloutSuperseded"
	EventInstanceSignalled  EventID = "InstanceSignalled"
	EventEndpointFailure    EventID = "EndpointFailure" // reported by a proxy
	EventProxyConnected     EventID = "ProxyConnected"
	EventProxyGone          EventID = "ProxyGone"
	EventDaemonStarted      EventID = "DaemonStarted"
	EventDaemonStopping     EventID = "DaemonStopping"
	EventKeeperStarted      EventID = "KeeperStarted"
	EventStateRestored      EventID = "StateRestored" // roost.db was damaged, or gone
	EventKeeperFailed       EventID = "KeeperFailed"
	EventOutputDeleted      EventID = "OutputDeleted" // old output, for logs.max_files or --log-max-total
	EventOutputDropped      EventID = "OutputDropped" // new output that could not be written
	EventOutputResumed      EventID = "OutputResumed" // after it was dropped
	EventOutputMissing      EventID = "OutputMissing" // of one that ended while nobody held its pipes
	EventOrphan             EventID = "Orphan"
	EventConditionAppeared  EventID = "ConditionAppeared"
	EventConditionDisappear EventID = "ConditionGone"
	EventStdoutFileFailed   EventID = "StdoutFileFailed" // the copy of an app's output
)
