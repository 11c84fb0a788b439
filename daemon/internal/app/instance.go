package app

import (
	"syscall"
	"time"
)

// InstanceID names one start of an app; it is never reused.
type InstanceID string

// Phase is where an instance is in its life. The order is the order of life;
// only Ready and Unready alternate.
type Phase int

// The phases of an instance.
const (
	PhaseStarting Phase = iota + 1
	PhaseReady
	PhaseUnready
	PhaseDraining
	PhaseStopping
	PhaseExited
)

// Lingering is an instance that could not be ended: processes of it are left that were
// killed, and hang in the kernel.
type Lingering struct {
	App      string
	Instance InstanceID
	PIDs     []int
}

// Exit is how an instance's leader ended.
type Exit struct {
	Code    int
	Signal  syscall.Signal // 0 where it exited by itself
	OOM     bool
	Unknown bool // nothing could know
	Time    time.Time
}

// Failed tells whether the exit is a failure to restart.when: on-failure.
func (e Exit) Failed() bool { return e.Unknown || e.Signal != 0 || e.Code != 0 }

// Instance is a snapshot of one start of an app.
type Instance struct {
	ID         InstanceID
	App        string
	Generation int64
	Rollout    string // the rollout that started it, if any
	Phase      Phase
	PID        int
	Address    string // "host:port" or "unix:/path"; "" before it is known
	StartTime  time.Time
	ReadyTime  time.Time
	Exit       *Exit
	Reason     string
	OutputTail string
	Output     Output
}

// Output is what is not as it should be with what an instance writes.
type Output struct {
	Fault        string // why it cannot be written now; "" where it can
	Waits        bool   // it waits for that to pass, and with a full pipe the app does
	DroppedBytes int64  // so far
	DroppedLines int64  // the line ends among them
}

// Condition is a lasting fact about an app that an operator should know of.
type Condition struct {
	Type    string
	Message string
	Time    time.Time
}

// The condition types.
const (
	CondOffline          = "Offline"        // says what keeps the app out of service
	CondFolderPolled     = "FolderPolled"   // changes in its folder are noticed late
	CondFolderChanging   = "FolderChanging" // watched files do not become quiet: nothing is started
	CondRecycleFailed    = "RecycleFailed"  // of a recycle that the daemon started itself
	CondHealthFailing    = "HealthFailing"  // in instances that were started because it failed in others
	CondRolloutFailed    = "RolloutFailed"
	CondRapidFail        = "RapidFail" // stopped for its failures (restart.on_rapid_fail: stop)
	CondRunsAsRoot       = "RunsAsRoot"
	CondBestEffortStop   = "BestEffortStop"
	CondWeakOwnerCheck   = "WeakOwnerCheck"
	CondLimitUnavailable = "LimitUnavailable"
	CondOutputBlocked    = "OutputBlocked" // logs.when_full: block, and there is no room
)
